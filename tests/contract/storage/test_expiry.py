"""Marks of what has expired, the runs that stand on it, and the deletion of rows."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from dag_engine.core.changes import AttemptRow, Batch, StaleReport
from dag_engine.core.plan import Plan, Reused
from dag_engine.storage import commands, expiry, reuse, runs, tables, tasks
from dag_engine.storage.database import Database
from dag_engine.storage.errors import ResultsExpiredError
from dag_engine.storage.scheduler_store import SchedulerStore
from tests.support.stored_samples import (
    MOMENT,
    accept_sample_run,
    make_full_batch,
    make_plan,
    make_run_row,
)


@pytest.mark.parametrize("rows_at_once", [1, 1_000])
def test_runs_that_are_over_are_deleted_with_all_their_rows(
    database: Database,
    leader: SchedulerStore,
    monkeypatch: pytest.MonkeyPatch,
    rows_at_once: int,
) -> None:
    monkeypatch.setattr(expiry, "_ROWS_AT_ONCE", rows_at_once)
    ended, other, live = (accept_sample_run(database).id for _ in range(3))
    sources: set[str] = set()
    for run_id in (ended, other, live):
        leader.commit(make_full_batch(run_id))
        for _ in range(2):
            commands.add_command(database, "default", run_id, "pause")
        needs = [(run_id, accept_sample_run(database, n_tasks=0).id) for _ in range(2)]
        sources |= {source for _, source in needs}
        assert reuse.hold_sources(database, "default", needs) == set(needs)
    moment = dt.datetime.now(dt.UTC)
    over = {run_id: make_run_row(run_id, "failed", ended_at=moment) for run_id in (ended, other)}
    leader.commit(Batch(runs=over))
    assert expiry.find_old_runs(database, moment - dt.timedelta(days=1)) == []
    later = moment + dt.timedelta(days=1)
    assert expiry.find_old_runs(database, later) == [ended, other]
    assert expiry.find_old_runs(database, later, after=ended) == [other]
    assert expiry.delete_runs(database, [ended, other]) == 0, "first they are marked"
    assert _mark(database, ended, live, other, "r-unknown") == [ended, other]
    assert expiry.find_old_runs(database, later, without="results") == []
    assert expiry.delete_runs(database, [ended, live, "r-unknown", other]) == 2

    def count(connection: sa.Connection) -> dict[str, set[str]]:
        return {
            table.name: set(connection.scalars(sa.select(table.c.run_id)))
            for table in tables.metadata.sorted_tables
            if "run_id" in table.c and table.name != "run_expiries"
        }

    left = database.read(count)
    assert len(left) == 10
    assert left["runs"] == {live, *sources}
    assert {frozenset(run_ids - sources) for run_ids in left.values()} == {frozenset({live})}
    assert expiry.is_expired(database, "default", ended, "results") is None


def test_old_reports_are_forgotten(database: Database, leader: SchedulerStore) -> None:
    leader.commit(Batch(stale_reports=[StaleReport("r1.0.1", b"{}")]))
    assert expiry.prune_stale_reports(database, MOMENT.replace(year=2000)) == 0
    assert expiry.prune_stale_reports(database, MOMENT.replace(year=2100)) == 1


def test_many_old_reports_are_forgotten_in_pieces(
    database: Database, leader: SchedulerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "_ROWS_AT_ONCE", 2)
    reports = [StaleReport(f"r1.0.{number}", b"{}") for number in range(5)]
    leader.commit(Batch(stale_reports=reports))
    later = MOMENT.replace(year=2100)
    assert [expiry.prune_stale_reports(database, later) for _ in range(4)] == [2, 2, 1, 0]


def test_a_report_of_a_clock_that_was_wrong_keeps_no_others(
    database: Database, leader: SchedulerStore
) -> None:
    reports = [StaleReport(f"r1.0.{number}", b"{}") for number in range(3)]
    leader.commit(Batch(stale_reports=reports))
    stored = tables.stale_reports
    numbers = database.read(lambda c: list(c.scalars(sa.select(stored.c.report_id))))
    odd = stored.update().where(stored.c.report_id == min(numbers))
    database.run_txn(lambda c: c.execute(odd.values(received_at=MOMENT.replace(year=2200))))
    later = MOMENT.replace(year=2100)
    assert expiry.prune_stale_reports(database, later) == 2


def _accept_on(database: Database, base: str) -> str:
    """Accept a run that stands on the results of another."""
    reused = [Reused(operator="b", run_id=base, attempt=1, outputs=[])]
    plan = Plan(tasks=make_plan(1).tasks, reused=reused)
    return accept_sample_run(database, plan=plan, range_mode="from").id


def _end(leader: SchedulerStore, run_id: str) -> None:
    leader.commit(make_full_batch(run_id))
    ended = make_run_row(run_id, "succeeded", ended_at=dt.datetime.now(dt.UTC))
    leader.commit(Batch(runs={run_id: ended}))


def _mark(database: Database, *run_ids: str) -> list[str]:
    return expiry.expire(database, run_ids, "results")


def test_results_that_a_run_stands_on_do_not_expire_before_its_own(
    database: Database, leader: SchedulerStore
) -> None:
    base = accept_sample_run(database).id
    _end(leader, base)
    child = _accept_on(database, base)
    assert _mark(database, base, child) == [], "one is needed, the other not over"
    _end(leader, child)
    assert _mark(database, base, child) == [child]
    assert _mark(database, base) == [base]
    assert expiry.find_unpurged(database) == [(run_id, "results") for run_id in (base, child)]
    expiry.note_purged(database, [base], "results")
    assert expiry.find_unpurged(database) == [(child, "results")]


def test_a_run_that_was_only_just_accepted_is_seen(
    database: Database, leader: SchedulerStore
) -> None:
    base = accept_sample_run(database).id
    _end(leader, base)
    _accept_on(database, base)
    assert _mark(database, base) == []


def test_expired_results_are_neither_found_nor_accepted_as_a_base(
    database: Database, leader: SchedulerStore
) -> None:
    base = accept_sample_run(database).id
    _end(leader, base)
    fingerprint = make_plan(1).tasks[0].fingerprint
    assert tasks.find_reusable(database, "default", [fingerprint])[fingerprint].run_id == base
    _mark(database, base)
    assert tasks.find_reusable(database, "default", [fingerprint]) == {}
    assert tasks.find_reusable(database, "default", [fingerprint], runs=[base]) == {}
    with pytest.raises(ResultsExpiredError):
        _accept_on(database, base)
    assert runs.count_runs(database) == {"succeeded": 1}
    with pytest.raises(ResultsExpiredError):
        _accept_on(database, "r-unknown")


@pytest.mark.parametrize("is_accepted_first", [True, False])
def test_of_a_mark_and_an_acceptance_at_once_the_later_one_sees_the_other(
    database: Database,
    leader: SchedulerStore,
    monkeypatch: pytest.MonkeyPatch,
    is_accepted_first: bool,
) -> None:
    """Both orders on the real locks: the first one is held just before its commit."""
    base = accept_sample_run(database).id
    _end(leader, base)
    is_inside, may_go = threading.Event(), threading.Event()

    def hold(original: Callable[..., Any]) -> Callable[..., Any]:
        def held(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            is_inside.set()
            assert may_go.wait(20)
            return result

        return held

    if is_accepted_first:
        monkeypatch.setattr(runs, "check_provided", hold(expiry.check_provided))
    else:
        monkeypatch.setattr(expiry, "find_needed", hold(expiry.find_needed))
    found: dict[str, Any] = {}

    def accept() -> None:
        try:
            found["run"] = _accept_on(database, base)
        except ResultsExpiredError:
            found["run"] = None

    def mark() -> None:
        found["marked"] = _mark(database, base)

    first, second = (accept, mark) if is_accepted_first else (mark, accept)
    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert is_inside.wait(20)
    threads[1].start()
    threads[1].join(0.3)
    assert threads[1].is_alive(), "it waits for the other's commit"
    may_go.set()
    for thread in threads:
        thread.join(20)
    assert (found["run"] is not None, found["marked"]) == (
        (True, []) if is_accepted_first else (False, [base])
    )


def test_losers_are_attempts_without_a_result(database: Database, leader: SchedulerStore) -> None:
    run_id = accept_sample_run(database).id
    batch = make_full_batch(run_id)
    for attempt, state in ((2, "failed"), (3, "cancelled"), (4, "running")):
        row = AttemptRow(run_id, 1, attempt, state, "engine-1", queued_at=MOMENT)
        batch.attempts[run_id, 1, attempt] = row
    leader.commit(batch)
    ended = dt.datetime.now(dt.UTC)
    span = (ended - dt.timedelta(minutes=1), ended + dt.timedelta(minutes=1))
    assert expiry.find_losers(database, *span) == [], "it is not over"
    leader.commit(Batch(runs={run_id: make_run_row(run_id, "failed", ended_at=ended)}))
    assert sorted(expiry.find_losers(database, *span)) == [(run_id, 1, 2), (run_id, 1, 3)]
    assert expiry.find_losers(database, span[1], span[1] + dt.timedelta(days=1)) == []


def test_losers_are_listed_run_by_run(database: Database, leader: SchedulerStore) -> None:
    run_ids = [accept_sample_run(database).id for _ in range(3)]
    for run_id in run_ids:
        batch = make_full_batch(run_id)
        for attempt in (2, 3):
            row = AttemptRow(run_id, 1, attempt, "failed", "engine-1", queued_at=MOMENT)
            batch.attempts[run_id, 1, attempt] = row
        batch.runs[run_id] = make_run_row(run_id, "failed", ended_at=MOMENT)
        leader.commit(batch)
    span = (MOMENT, MOMENT + dt.timedelta(seconds=1))
    pages, after = [], ""
    while page := expiry.find_losers(database, *span, after=after, limit=2):
        pages.append(page)
        after = page[-1][0]
    listed = [[(run_id, 1, attempt) for attempt in (2, 3)] for run_id in run_ids]
    assert pages == [listed[0] + listed[1], listed[2]]
