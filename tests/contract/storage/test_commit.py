"""What a commit writes, and what it does when the database fails in the middle of it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa

from dag_engine.core.changes import (
    AttemptRow,
    Batch,
    CommandResult,
    EventRow,
    StaleReport,
    StoredEngine,
    TaskRow,
)
from dag_engine.storage import commands, engines, events, runs, tasks
from dag_engine.storage.database import Database
from dag_engine.storage.errors import BatchRefusedError, LeadershipLostError
from dag_engine.storage.scheduler_store import SchedulerStore
from tests.support.databases import lost_answer
from tests.support.stored_samples import (
    MOMENT,
    accept_sample_run,
    make_full_batch,
    make_plan,
    make_ref,
    make_registration,
    make_run_row,
)
from tests.support.waiting import wait_until


def test_an_accepted_run_is_found_once_and_lives_until_its_end(
    database: Database, leader: SchedulerStore
) -> None:
    first = accept_sample_run(database).id
    second = accept_sample_run(database).id
    assert leader.find_new_run_ids() == [first, second]
    assert leader.find_new_run_ids(limit=1) == [first]
    assert leader.load_live_run_ids() == []
    leader.commit(Batch(consumed_runs=[first]))
    assert leader.find_new_run_ids() == [second]
    assert leader.load_live_run_ids() == [first]
    ended = make_run_row(first, "succeeded", ended_at=MOMENT)
    leader.commit(Batch(runs={first: ended}))
    assert leader.load_live_run_ids() == []


def test_a_run_of_which_only_tasks_moved_keeps_its_state(
    database: Database, leader: SchedulerStore
) -> None:
    run_id = accept_sample_run(database).id
    batch = Batch()
    batch.runs[run_id] = make_run_row(run_id, state="running", last_seq=7)
    leader.commit(batch)
    batch.runs[run_id] = make_run_row(run_id, state="failed", last_seq=9, counts={"queued": 2})
    batch.counted_runs.add(run_id)
    leader.commit(batch)
    found = runs.get_run(database, "default", run_id)
    assert (found.state, found.last_seq, found.tasks) == ("running", 9, {"queued": 2})


def test_a_run_is_loaded_with_plan_tasks_and_outputs(
    database: Database, leader: SchedulerStore
) -> None:
    record = accept_sample_run(database, priority=7)
    batch = make_full_batch(record.id)
    leader.commit(batch)
    [loaded] = leader.load_runs([record.id, "r-unknown"])
    assert loaded.plan == make_plan(2)
    assert (loaded.namespace, loaded.priority, loaded.last_seq) == ("default", 7, 2)
    assert loaded.created_at == record.created_at
    assert loaded.started_at == MOMENT
    assert loaded.tasks[0] == batch.tasks[record.id, 0]
    assert loaded.tasks[1] == TaskRow(record.id, 1, "算子_1", "pending")
    assert loaded.outputs == {0: [make_ref()]}


def test_every_kind_of_row_is_read_back_as_it_was_written(
    database: Database, leader: SchedulerStore
) -> None:
    run_id = accept_sample_run(database).id
    batch = make_full_batch(run_id)
    leader.commit(batch)
    run = runs.get_run(database, "default", run_id)
    assert (run.state, run.tasks, run.last_seq) == ("running", {"succeeded": 1, "pending": 1}, 2)
    task = tasks.get_task(database, "default", run_id, "算子_0")
    assert (task.reason_code, task.reason, task.title) == ("ran", "成功 😀", "讀文件 0")
    assert task.progress == {"done": 1.0, "total": 2.0, "message": "一半"}
    assert task.metrics == {"auc": 0.75}
    assert task.ended_at == dt.datetime(2026, 3, 1, 12, 30, 15, 123457, tzinfo=dt.UTC)
    assert [output.ref for output in task.outputs] == [make_ref()]
    written = batch.attempts[run_id, 0, 1]
    [attempt] = tasks.list_attempts(database, "default", run_id, 0)
    assert dataclasses.asdict(attempt) == dataclasses.asdict(written)
    listed = events.list_events_after(database, "default", run_id, 0)
    assert [dataclasses.asdict(event) for event in listed] == [
        dataclasses.asdict(event) for event in batch.events
    ]


def test_rows_that_exist_are_replaced(database: Database, leader: SchedulerStore) -> None:
    run_id = accept_sample_run(database).id
    leader.commit(make_full_batch(run_id))
    batch = make_full_batch(run_id)
    batch.events.clear()
    batch.consumed_runs.clear()
    batch.runs[run_id] = make_run_row(run_id, "failed", reason_code="error", reason="坏了")
    batch.tasks[run_id, 0] = TaskRow(run_id, 0, "算子_0", "failed", "error", "no", 2, None, 1, 1)
    batch.attempts[run_id, 0, 1] = AttemptRow(run_id, 0, 1, "failed", "engine-2", "lost", signal=9)
    batch.artifacts[0].attempt = 2
    leader.commit(batch)
    run = runs.get_run(database, "default", run_id)
    assert (run.state, run.reason_code, run.reason) == ("failed", "error", "坏了")
    [loaded] = leader.load_runs([run_id])
    assert loaded.tasks[0] == batch.tasks[run_id, 0]
    attempt = tasks.get_attempt(database, "default", run_id, 0, 1)
    assert (attempt.engine_id, attempt.reason_code, attempt.signal) == ("engine-2", "lost", 9)
    assert [o.attempt for o in tasks.list_artifacts(database, "default", run_id, 0)] == [2]


def test_commands_are_found_until_they_are_finished(
    database: Database, leader: SchedulerStore
) -> None:
    run_id = accept_sample_run(database).id
    first = commands.add_command(database, "default", run_id, "pause")
    second = commands.add_command(database, "default", run_id, "cancel", operator="算子_1")
    found = leader.find_commands()
    assert [(c.id, c.kind, c.operator) for c in found] == [
        (first.id, "pause", None),
        (second.id, "cancel", "算子_1"),
    ]
    leader.commit(Batch(commands=[CommandResult(first.id, "applied")]))
    assert [command.id for command in leader.find_commands()] == [second.id]
    stored = commands.get_command(database, "default", first.id)
    assert stored.result == "applied"
    assert stored.consumed_at is not None


def test_an_engines_life_is_noted_without_touching_its_registration(
    database: Database, leader: SchedulerStore
) -> None:
    leader.save_registration(make_registration())
    [stored] = leader.load_engines()
    assert (stored.engine_id, stored.incarnation, stored.is_alive) == ("engine-1", "one", True)
    gone = StoredEngine("engine-1", "one", b"", is_alive=False)
    leader.commit(Batch(engines={"engine-1": gone}))
    [again] = leader.load_engines()
    assert not again.is_alive
    assert again.registration == stored.registration
    leader.touch_engines(["engine-1"], MOMENT)
    record = engines.get_engine(database, "engine-1")
    assert record.is_alive
    assert record.heartbeat_at == MOMENT


def test_a_large_batch_is_written_whole(database: Database, leader: SchedulerStore) -> None:
    """Larger than one message to the server: 3,000 attempts with a long traceback each."""
    run_id = accept_sample_run(database).id
    batch = Batch()
    for index in range(3_000):
        batch.attempts[run_id, index, 1] = AttemptRow(
            run_id, index, 1, "failed", "e", traceback="x" * 2_000
        )
    leader.commit(batch)
    [last] = tasks.list_attempts(database, "default", run_id, 2_999)
    assert len(last.traceback) == 2_000


def test_text_that_is_no_unicode_or_too_long_cannot_spoil_a_batch(
    database: Database, leader: SchedulerStore
) -> None:
    run_id = accept_sample_run(database).id
    batch = Batch()
    batch.attempts[run_id, 0, 1] = AttemptRow(
        run_id, 0, 1, "failed", "e", message="half \ud800", hint="长" * 10_000, worker="w" * 999
    )
    leader.commit(batch)
    [attempt] = tasks.list_attempts(database, "default", run_id, 0)
    assert attempt.message == "half ?"
    assert attempt.hint == "长" * 4_000
    assert attempt.worker == "w" * 255


def test_a_batch_that_the_database_refuses_leaves_no_trace(
    database: Database, leader: SchedulerStore
) -> None:
    run_id = accept_sample_run(database).id
    leader.commit(Batch(events=[EventRow(run_id, 1, MOMENT, "run")]))
    bad = make_full_batch(run_id)
    with pytest.raises(BatchRefusedError):
        leader.commit(bad)
    assert runs.get_run(database, "default", run_id).state == "pending"
    assert leader.find_new_run_ids() == [run_id]
    assert len(events.list_events_after(database, "default", run_id, 0)) == 1
    bad.events = bad.events[1:]
    leader.commit(bad)
    assert runs.get_run(database, "default", run_id).state == "running"


def test_a_store_that_never_led_cannot_write(open_store: Callable[..., SchedulerStore]) -> None:
    with pytest.raises(LeadershipLostError):
        open_store().commit(Batch(events=[EventRow("r1", 1, MOMENT, "run")]))


# --- failures -------------------------------------------------------------------------------------


class Interrupted:
    """Lets a session's writes fail: `before` or `after` they have really happened."""

    def __init__(self, store: SchedulerStore, database: Database, *, when: str, times: int) -> None:
        self._write = store._session.write
        self._database = database
        self._when = when
        self._times = times
        self.n_calls = 0
        store._session.write = self

    def __call__(self, *arguments: Any) -> None:
        self.n_calls += 1
        if self.n_calls > self._times:
            self._write(*arguments)
            return
        if self._when == "after":
            self._write(*arguments)
        raise lost_answer(self._database)


def test_a_commit_whose_answer_was_lost_is_not_done_twice(
    database: Database, leader: SchedulerStore
) -> None:
    interrupted = Interrupted(leader, database, when="after", times=1)
    leader.commit(Batch(events=[EventRow("r1", 1, MOMENT, "run")]))
    assert interrupted.n_calls == 2
    leader.commit(Batch(events=[EventRow("r1", 2, MOMENT, "run")]))
    assert [event.seq for event in events.list_events_after(database, "default", "r1", 0)] == [1, 2]


def test_a_commit_that_never_arrived_is_repeated(
    database: Database, leader: SchedulerStore
) -> None:
    Interrupted(leader, database, when="before", times=3)
    leader.commit(Batch(events=[EventRow("r1", 1, MOMENT, "run")]))
    assert len(events.list_events_after(database, "default", "r1", 0)) == 1


def test_registering_survives_a_lost_answer(database: Database, leader: SchedulerStore) -> None:
    Interrupted(leader, database, when="after", times=1)
    leader.save_registration(make_registration())
    assert [engine.engine_id for engine in leader.load_engines()] == ["engine-1"]


@pytest.mark.mysql
def test_a_killed_connection_is_opened_again(server_database: Database) -> None:
    store = SchedulerStore(server_database, holder="h", url="", lease_s=30.0)
    store.try_lead()
    with server_database.engine.connect() as connection:
        connection.exec_driver_sql(f"KILL {store._session.connection_id}")
    store.commit(Batch(events=[EventRow("r1", 1, MOMENT, "run")]))
    assert len(events.list_events_after(server_database, "default", "r1", 0)) == 1
    store.close()


@pytest.mark.mysql
def test_a_commit_waits_for_locks_and_survives_a_deadlock(server_database: Database) -> None:
    """Another transaction holds the second task and then wants the first: one must give way."""
    store = SchedulerStore(server_database, holder="h", url="", lease_s=30.0)
    store.try_lead()
    run_id = accept_sample_run(server_database).id
    batch = Batch()
    for index in range(2):
        batch.tasks[run_id, index] = TaskRow(run_id, index, f"算子_{index}", "ready")
    raw = server_database.connector.connect()
    committer = threading.Thread(target=store.commit, args=(batch,))
    with contextlib.closing(raw), raw.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute("UPDATE tasks SET algorithm = 'x' WHERE run_id = %s AND idx = 1", (run_id,))
        committer.start()
        try:
            number = store._session.connection_id
            wait_until(lambda: _is_at_work(server_database, number))
            with contextlib.suppress(pymysql.err.OperationalError):
                cursor.execute(
                    "UPDATE tasks SET algorithm = 'x' WHERE run_id = %s AND idx = 0", (run_id,)
                )
        finally:
            cursor.execute("ROLLBACK")
            committer.join()
    stored = tasks.list_tasks(server_database, "default", run_id).items
    assert [task.state for task in stored] == ["ready", "ready"]
    store.close()


def _is_at_work(database: Database, connection_id: int) -> bool:
    sql = "SELECT COMMAND FROM information_schema.processlist WHERE ID = :number"
    found = database.read(lambda c: c.scalar(sa.text(sql), {"number": connection_id}))
    return bool(found == "Query")


def test_a_stale_report_is_kept(database: Database, leader: SchedulerStore) -> None:
    outcome = '{"attempt_id": "r1.0.1", "message": "迟"}'.encode()
    leader.commit(Batch(stale_reports=[StaleReport("r1.0.1", outcome)]))
    sql = "SELECT attempt_id, verdict, outcome FROM stale_reports"
    rows = database.read(lambda connection: connection.exec_driver_sql(sql).all())
    assert [tuple(row) for row in rows] == [
        ("r1.0.1", "stale", '{"attempt_id": "r1.0.1", "message": "迟"}')
    ]
