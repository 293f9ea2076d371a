"""Tasks with their outputs, commands, events, and results that may be used again."""

from __future__ import annotations

import pytest

from dag_engine.core.changes import ArtifactRow, Batch, EventRow, TaskRow
from dag_engine.core.plan import Reused
from dag_engine.storage import commands, events, tasks
from dag_engine.storage.database import Database
from dag_engine.storage.errors import InvalidCursorError, NotFoundError
from dag_engine.storage.scheduler_store import SchedulerStore
from tests.support.read_meter import note_selects
from tests.support.stored_samples import (
    MOMENT,
    accept_sample_run,
    make_full_batch,
    make_plan,
    make_ref,
)


def succeed(
    leader: SchedulerStore,
    run_id: str,
    *indexes: int,
    state: str = "succeeded",
    reason_code: str = "",
) -> None:
    batch = Batch()
    for index in indexes:
        batch.tasks[run_id, index] = TaskRow(
            run_id, index, f"算子_{index}", state, attempt=1, reason_code=reason_code
        )
        ref = make_ref(uri=f"file:///{run_id}/{index}")
        batch.artifacts.append(ArtifactRow(run_id, index, 0, 1, ref))
    leader.commit(batch)


def test_tasks_are_paged_in_the_order_of_the_plan(database: Database) -> None:
    run_id = accept_sample_run(database, n_tasks=5).id
    first = tasks.list_tasks(database, "default", run_id, limit=2)
    second = tasks.list_tasks(database, "default", run_id, limit=2, cursor=first.next_cursor)
    third = tasks.list_tasks(database, "default", run_id, limit=2, cursor=second.next_cursor)
    found = [task.operator for page in (first, second, third) for task in page.items]
    assert found == [f"算子_{i}" for i in range(5)]
    assert third.next_cursor is None
    for cursor in ("x", "-1", "1; DROP TABLE tasks"):
        with pytest.raises(InvalidCursorError):
            tasks.list_tasks(database, "default", run_id, cursor=cursor)


def test_tasks_are_filtered_by_state_and_carry_their_outputs(
    database: Database, leader: SchedulerStore
) -> None:
    run_id = accept_sample_run(database, n_tasks=3).id
    succeed(leader, run_id, 0, 2)
    listed = tasks.list_tasks(database, "default", run_id, states=["succeeded"]).items
    assert [task.index for task in listed] == [0, 2]
    assert [task.outputs[0].ref.uri for task in listed] == [
        f"file:///{run_id}/0",
        f"file:///{run_id}/2",
    ]
    [pending] = tasks.list_tasks(database, "default", run_id, states=["pending", "ready"]).items
    assert (pending.operator, pending.outputs) == ("算子_1", [])


def test_operators_are_told_apart_by_case(database: Database) -> None:
    plan = make_plan(2)
    from msgspec.structs import replace

    plan = replace(plan, tasks=[replace(plan.tasks[0], operator="Ab"), plan.tasks[1]])
    plan = replace(plan, tasks=[plan.tasks[0], replace(plan.tasks[1], operator="aB")])
    run_id = accept_sample_run(database, plan=plan).id
    assert tasks.get_task(database, "default", run_id, "aB").index == 1
    with pytest.raises(NotFoundError):
        tasks.get_task(database, "default", run_id, "AB")


def test_what_does_not_exist_is_not_found(database: Database) -> None:
    run_id = accept_sample_run(database).id
    with pytest.raises(NotFoundError):
        tasks.get_task(database, "default", run_id, "nobody")
    with pytest.raises(NotFoundError):
        tasks.get_task(database, "other", run_id, "算子_0")
    with pytest.raises(NotFoundError):
        tasks.get_attempt(database, "default", run_id, 0, 1)
    with pytest.raises(NotFoundError):
        commands.add_command(database, "default", "r-unknown", "cancel")
    with pytest.raises(NotFoundError):
        commands.add_command(database, "default", run_id, "cancel", operator="nobody")
    with pytest.raises(NotFoundError):
        commands.add_command(database, "other", run_id, "cancel")
    with pytest.raises(NotFoundError):
        commands.get_command(database, "default", 4711)


def test_commands_of_a_run_are_listed_in_order(database: Database) -> None:
    run_id = accept_sample_run(database).id
    for kind in ("pause", "resume"):
        commands.add_command(database, "default", run_id, kind, created_by="小王")
    listed = commands.list_commands(database, "default", run_id)
    assert [(c.kind, c.created_by, c.result) for c in listed] == [
        ("pause", "小王", ""),
        ("resume", "小王", ""),
    ]


def test_events_are_read_on_from_the_last_one_seen(
    database: Database, leader: SchedulerStore
) -> None:
    run_id = accept_sample_run(database).id
    leader.commit(Batch(events=[EventRow(run_id, seq, MOMENT, "task") for seq in range(1, 8)]))
    first = events.list_events_after(database, "default", run_id, 0, limit=3)
    rest = events.list_events_after(database, "default", run_id, first[-1].seq)
    assert [event.seq for event in first + rest] == list(range(1, 8))
    assert first[0].at == MOMENT


def test_what_a_run_did_not_finish_is_listed(database: Database, leader: SchedulerStore) -> None:
    run_id = accept_sample_run(database, n_tasks=5).id
    succeed(leader, run_id, 0)
    succeed(leader, run_id, 1, state="skipped", reason_code="not_needed")
    succeed(leader, run_id, 2, state="failed")
    succeed(leader, run_id, 3, state="skipped", reason_code="stopped")
    found = tasks.list_unfinished_operators(database, "default", run_id)
    assert found == ["算子_2", "算子_3", "算子_4"]


# --- results that may be used again ---------------------------------------------------------------


def test_the_newest_succeeded_task_with_a_fingerprint_is_found(
    database: Database, leader: SchedulerStore
) -> None:
    old, new, failed = (accept_sample_run(database).id for _ in range(3))
    succeed(leader, old, 0, 1)
    succeed(leader, new, 0)
    succeed(leader, failed, 0, 1, state="failed")
    prints = [task.fingerprint for task in make_plan(3).tasks]
    found = tasks.find_reusable(database, "default", [*prints, "", "unknown"])
    assert found == {
        prints[0]: Reused(
            operator="算子_0", run_id=new, attempt=1, outputs=[make_ref(uri=f"file:///{new}/0")]
        ),
        prints[1]: Reused(
            operator="算子_1", run_id=old, attempt=1, outputs=[make_ref(uri=f"file:///{old}/1")]
        ),
    }


def test_the_base_run_goes_before_the_newest(database: Database, leader: SchedulerStore) -> None:
    base, newer = (accept_sample_run(database).id for _ in range(2))
    succeed(leader, base, 0)
    succeed(leader, newer, 0, 1)
    prints = [task.fingerprint for task in make_plan(2).tasks]
    found = tasks.find_reusable(database, "default", prints, runs=[base])
    assert [found[fingerprint].run_id for fingerprint in prints] == [base, newer]


def test_former_runs_are_asked_in_their_order_and_only_for_what_is_lacking(
    database: Database, leader: SchedulerStore
) -> None:
    first, second, newest = (accept_sample_run(database, n_tasks=3).id for _ in range(3))
    succeed(leader, first, 0)
    succeed(leader, second, 0, 1)
    succeed(leader, newest, 0, 1, 2)
    prints = [task.fingerprint for task in make_plan(3).tasks]
    found = tasks.find_reusable(database, "default", prints, runs=[first, second])
    assert [found[fingerprint].run_id for fingerprint in prints] == [first, second, newest]

    def find_all() -> None:
        tasks.find_reusable(database, "default", prints, runs=[newest, second, first])

    # who has them, the tasks themselves, and their outputs
    asked = [sql for sql, _ in note_selects(database, find_all) if sql != "SELECT 1"]
    assert len(asked) == 3


def test_results_of_another_namespace_are_never_used(
    database: Database, leader: SchedulerStore
) -> None:
    run_id = accept_sample_run(database, namespace="a").id
    leader.load_runs([run_id])
    leader.commit(make_full_batch(run_id))
    fingerprint = make_plan(1).tasks[0].fingerprint
    assert tasks.find_reusable(database, "default", [fingerprint]) == {}
    assert list(tasks.find_reusable(database, "a", [fingerprint])) == [fingerprint]


def test_of_twins_in_one_run_the_first_is_used(database: Database, leader: SchedulerStore) -> None:
    from msgspec.structs import replace

    plan = make_plan(3)
    plan = replace(plan, tasks=[replace(task, fingerprint="f" * 64) for task in plan.tasks])
    run_id = accept_sample_run(database, plan=plan).id
    succeed(leader, run_id, 1, 2)
    found = tasks.find_reusable(database, "default", ["f" * 64])
    assert found["f" * 64].operator == "算子_1"
