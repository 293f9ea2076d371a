"""Accepting runs, and listing them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dag_engine.core.changes import Batch
from dag_engine.storage import dags, idempotency, runs, tables
from dag_engine.storage.database import Database
from dag_engine.storage.errors import IdempotencyConflictError, NotFoundError
from dag_engine.storage.rows import IdempotencyKey, NewRun, RunMark
from dag_engine.storage.scheduler_store import SchedulerStore
from tests.support.at_once import run_at_once
from tests.support.databases import lost_answer
from tests.support.interleaving import meanwhile
from tests.support.read_meter import note_selects
from tests.support.stored_samples import (
    MOMENT,
    accept_sample_run,
    make_new_dag,
    make_plan,
    make_run_row,
)

KEY = IdempotencyKey("key 一", "start_run", "a" * 64)


def new_run(**changes: Any) -> NewRun:
    values: dict[str, Any] = {"dag_id": "d1", "dag_version": 1, "plan": make_plan(2)}
    return NewRun(**{**values, **changes})


def test_an_accepted_run_shows_what_was_asked_for(database: Database) -> None:
    record = accept_sample_run(
        database,
        name="信用",
        priority=-3,
        range_mode="from",
        options={"operators": ["算子_0"], "params": {"a.b": 1}},
        base_run="r0",
        created_by="小王",
    )
    assert record == runs.get_run(database, "default", record.id)
    assert (record.state, record.tasks, record.n_tasks) == ("pending", {"pending": 2}, 2)
    assert (record.name, record.priority, record.range_mode) == ("信用", -3, "from")
    assert record.options == {"operators": ["算子_0"], "params": {"a.b": 1}}
    assert (record.base_run, record.created_by, record.last_seq) == ("r0", "小王", 0)
    assert record.started_at is None
    assert record.created_at.tzinfo is not None
    assert runs.load_plan(database, "default", record.id) == make_plan(2)


def test_a_run_is_not_seen_from_another_namespace(database: Database) -> None:
    run_id = accept_sample_run(database, namespace="a").id
    assert runs.get_run(database, "a", run_id).namespace == "a"
    for call in (runs.get_run, runs.load_plan):
        with pytest.raises(NotFoundError):
            call(database, "b", run_id)
    assert runs.list_runs(database, "b").items == []


def test_the_scheduler_writes_into_the_runs_namespace(
    database: Database, leader: SchedulerStore
) -> None:
    from dag_engine.storage import events, tasks
    from tests.support.stored_samples import make_full_batch

    run_id = accept_sample_run(database, namespace="a").id
    leader.load_runs([run_id])
    leader.commit(make_full_batch(run_id))
    assert len(events.list_events_after(database, "a", run_id, 0)) == 2
    assert len(tasks.list_attempts(database, "a", run_id, 0)) == 1
    assert len(tasks.list_artifacts(database, "a", run_id, 0)) == 1
    assert events.list_events_after(database, "default", run_id, 0) == []


def test_ten_thousand_tasks_are_accepted_and_loaded(
    database: Database, leader: SchedulerStore
) -> None:
    plan = make_plan(10_000)
    started = time.perf_counter()
    record = accept_sample_run(database, plan=plan)
    took_s = time.perf_counter() - started
    [loaded] = leader.load_runs([record.id])
    assert loaded.plan == plan
    assert [task.index for task in loaded.tasks] == list(range(10_000))
    assert record.tasks == {"pending": 10_000}
    assert took_s < 5.0, "the target is 1 s on a quiet machine"


# --- idempotency ----------------------------------------------------------------------------------


def test_the_same_key_gives_the_same_run(database: Database) -> None:
    first = runs.accept_run(database, new_run(), idempotency_key=KEY)
    again = runs.accept_run(database, new_run(), idempotency_key=KEY)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.run == first.run
    assert len(runs.list_runs(database, "default").items) == 1
    assert idempotency.find_subject(database, "default", KEY) == first.run.id


def test_a_key_belongs_to_its_namespace(database: Database) -> None:
    first = runs.accept_run(database, new_run(), idempotency_key=KEY).run
    other = runs.accept_run(database, new_run(namespace="b"), idempotency_key=KEY).run
    assert first.id != other.id
    assert idempotency.find_subject(database, "c", KEY) is None


@pytest.mark.parametrize("changes", [{"body_digest": "b" * 64}, {"operation": "retry_run"}])
def test_a_key_that_comes_with_another_request_is_refused(
    database: Database, changes: dict[str, str]
) -> None:
    runs.accept_run(database, new_run(), idempotency_key=KEY)
    other = IdempotencyKey(
        KEY.key, changes.get("operation", KEY.operation), changes.get("body_digest", "a" * 64)
    )
    with pytest.raises(IdempotencyConflictError):
        runs.accept_run(database, new_run(), idempotency_key=other)
    with pytest.raises(IdempotencyConflictError):
        idempotency.find_subject(database, "default", other)
    assert len(runs.list_runs(database, "default").items) == 1


def test_many_requests_at_once_with_one_key_make_one_run(database: Database) -> None:
    found = run_at_once(16, lambda _: runs.accept_run(database, new_run(), idempotency_key=KEY))
    assert len({accepted.run.id for accepted in found}) == 1
    assert sum(accepted.is_new for accepted in found) == 1
    assert len(runs.list_runs(database, "default").items) == 1


def test_old_keys_are_forgotten(database: Database) -> None:
    first = runs.accept_run(database, new_run(), idempotency_key=KEY).run
    assert idempotency.prune_keys(database, first.created_at.replace(year=2000)) == 0
    assert idempotency.prune_keys(database, first.created_at.replace(year=2100)) == 1
    assert runs.accept_run(database, new_run(), idempotency_key=KEY).is_new


def test_many_old_keys_are_forgotten_in_pieces(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the scheduler gets its turn on SQLite's one lock between them."""
    monkeypatch.setattr(idempotency, "_KEYS_AT_ONCE", 2)
    for number in range(5):
        key = IdempotencyKey(f"k{number}", "start_run", "0")
        last = runs.accept_run(database, new_run(), idempotency_key=key).run
    later = last.created_at.replace(year=2100)
    assert [idempotency.prune_keys(database, later) for _ in range(4)] == [2, 2, 1, 0]


# --- with the definition that is posted with it ---------------------------------------------------


def test_a_definition_that_is_posted_with_a_run_is_stored_with_it(database: Database) -> None:
    first = runs.accept_run(database, new_run(), definition=make_new_dag("one")).run
    again = runs.accept_run(database, new_run(), definition=make_new_dag("one")).run
    changed = runs.accept_run(database, new_run(), definition=make_new_dag("two")).run
    dag = dags.get_dag(database, "default", first.dag_id)
    assert {first.dag_id, again.dag_id, changed.dag_id} == {dag.id}
    assert [run.dag_version for run in (first, again, changed)] == [1, 1, 2]
    assert (dag.current.version, dag.n_versions) == (2, 2)
    assert dags.get_dag_source(database, "default", dag.id, 1).data == make_new_dag("one").source


def test_a_run_that_is_refused_leaves_no_definition(database: Database) -> None:
    runs.accept_run(database, new_run(), idempotency_key=KEY)
    other = IdempotencyKey(KEY.key, KEY.operation, "b" * 64)
    with pytest.raises(IdempotencyConflictError):
        runs.accept_run(database, new_run(), definition=make_new_dag("one"), idempotency_key=other)
    repeated = runs.accept_run(
        database, new_run(), definition=make_new_dag("two"), idempotency_key=KEY
    )
    assert not repeated.is_new
    assert dags.list_dags(database, "default").items == []


def test_the_same_definition_posted_by_many_at_once_is_one_dag(database: Database) -> None:
    found = run_at_once(
        8, lambda _: runs.accept_run(database, new_run(), definition=make_new_dag("one")).run
    )
    assert len({run.id for run in found}) == 8
    assert {(run.dag_id, run.dag_version) for run in found} == {(found[0].dag_id, 1)}


def test_what_was_just_stored_is_not_read_again(database: Database) -> None:
    """The transaction holds locks for as long as each of its questions takes."""

    def accept(content: str) -> list[str]:
        selects = note_selects(
            database,
            lambda: runs.accept_run(database, new_run(), definition=make_new_dag(content)),
        )
        return [statement for statement, _ in selects]

    assert note_selects(database, lambda: runs.accept_run(database, new_run())) == []
    for content in ("one", "one"):
        [look_up] = accept(content)
        assert "dags.lookup = " in look_up


# --- listing --------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_in_stable_pages(database: Database) -> None:
    ids = [accept_sample_run(database).id for _ in range(5)]
    first = runs.list_runs(database, "default", limit=2)
    accept_sample_run(database)
    second = runs.list_runs(database, "default", limit=2, cursor=first.next_cursor)
    third = runs.list_runs(database, "default", limit=2, cursor=second.next_cursor)
    assert [run.id for page in (first, second, third) for run in page.items] == ids[::-1]
    assert third.next_cursor is None


def test_runs_are_filtered_by_state_dag_and_kind(
    database: Database, leader: SchedulerStore
) -> None:
    ids = [accept_sample_run(database, dag_id=f"d{i % 2}").id for i in range(6)]
    inner = accept_sample_run(database, is_internal=True).id
    leader.commit(
        Batch(
            runs={
                ids[0]: make_run_row(ids[0], "running"),
                ids[1]: make_run_row(ids[1], "failed", ended_at=MOMENT),
                ids[4]: make_run_row(ids[4], "running"),
            }
        )
    )

    def listed(**filters: Any) -> list[str]:
        return [run.id for run in runs.list_runs(database, "default", **filters).items]

    assert listed() == ids[::-1]
    assert listed(states=["running"]) == [ids[4], ids[0]]
    assert listed(states=["failed", "running"]) == [ids[4], ids[1], ids[0]]
    assert listed(states=["failed", "running"], limit=2, cursor=ids[4]) == [ids[1], ids[0]]
    assert listed(dag_id="d1") == [ids[5], ids[3], ids[1]]
    assert listed(dag_id="d0", states=["running"]) == [ids[4], ids[0]]
    assert listed(is_internal=True) == [inner]


def test_a_run_that_moves_on_while_it_is_listed_is_not_shown_in_a_state_not_asked_for(
    database: Database,
) -> None:
    ids = [accept_sample_run(database).id for _ in range(5)]

    def move_on() -> None:
        start = tables.runs.update().where(tables.runs.c.run_id.in_([ids[4], ids[2]]))
        database.run_txn(lambda c: c.execute(start.values(state="running")))

    states = ["failed", "pending"]
    with meanwhile(database, "UNION ALL", move_on):
        first = runs.list_runs(database, "default", states=states, limit=2)
    assert [(run.id, run.state) for run in first.items] == [
        (ids[3], "pending"),
        (ids[1], "pending"),
    ]
    rest = runs.list_runs(database, "default", states=states, cursor=first.next_cursor)
    assert ([run.id for run in rest.items], rest.next_cursor) == ([ids[0]], None)


def test_marks_and_counts_follow_the_scheduler(database: Database, leader: SchedulerStore) -> None:
    first, second, third = (accept_sample_run(database).id for _ in range(3))
    leader.commit(
        Batch(
            runs={
                first: make_run_row(
                    first, last_seq=9, counts={"running": 1, "pending": 0, "ready": 1}
                ),
                second: make_run_row(second, "failed", ended_at=MOMENT, counts={"failed": 2}),
            }
        )
    )
    assert runs.read_mark(database, "default", first) == RunMark(9, "running")
    assert runs.read_mark(database, "default", third) == RunMark(0, "pending")
    with pytest.raises(NotFoundError):
        runs.read_mark(database, "default", "r-unknown")
    counts = runs.count_open(database)
    assert counts.runs == {"running": 1, "pending": 1}
    assert {s: n for s, n in counts.tasks.items() if n} == {"running": 1, "ready": 1, "pending": 2}
    assert runs.count_runs(database) == {"running": 1, "failed": 1, "pending": 1}
    assert runs.get_run(database, "default", first).tasks == {"running": 1, "ready": 1}


def test_a_run_whose_commit_broke_off_is_not_made_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = database._write_unlocked
    calls: list[int] = []

    def lose_first_answer(*arguments: Any) -> Any:
        result = real(*arguments)
        calls.append(1)
        if len(calls) == 1:
            raise lost_answer(database)
        return result

    monkeypatch.setattr(database, "_write_unlocked", lose_first_answer)
    for key in (None, KEY):
        calls.clear()
        accepted = runs.accept_run(database, new_run(), idempotency_key=key)
        assert accepted.is_new
        assert len(calls) == 2
    assert len(runs.list_runs(database, "default").items) == 2
