from __future__ import annotations

from executors.base import DispatchItem, Outcome, RegistrationReply, Task
from operator_engine.attempts import AttemptTable
from operator_engine.messages import ExecutionHello, MonitorHello, StageNote
from tests.support.engine_rig import make_task


def item(number: int = 0, **fields: object) -> DispatchItem:
    task = make_task(number, **fields)
    return DispatchItem(task=task, token=f"t{number}")


def note(number: int, stage: str) -> StageNote:
    return StageNote(attempt_id=f"rrun.{number}.1", executor="file", stage=stage)


def accept(table: AttemptTable, *numbers: int, now: float = 0.0) -> list[Task]:
    to_execution, _ = table.accept([item(number) for number in numbers], ["file"], now)
    return to_execution.tasks


def stages(table: AttemptTable) -> dict[str, str]:
    return {entry.attempt_id: entry.stage for entry in table.inventory()}


def test_accepted_task_goes_to_execution_and_its_token_to_the_monitor() -> None:
    to_execution, to_monitor = AttemptTable().accept([item(0)], ["file"], 0.0)
    assert [task.attempt_id for task in to_execution.tasks] == ["rrun.0.1"]
    assert to_monitor.tokens == {"rrun.0.1": "t0"}
    assert to_monitor.outcomes == []


def test_stage_only_goes_up() -> None:
    table = AttemptTable()
    accept(table, 0)
    table.note_told([note(0, "started")])
    table.note_submitted(["rrun.0.1"])
    table.note_told([note(0, "accepted")])
    assert stages(table) == {"rrun.0.1": "started"}


def test_acknowledged_attempt_leaves_the_inventory_and_is_not_accepted_again() -> None:
    table = AttemptTable()
    accept(table, 0)
    assert table.note_acknowledged(["rrun.0.1"]) == ["rrun.0.1"]
    assert table.inventory() == []
    assert accept(table, 0) == []
    assert table.note_acknowledged(["rrun.0.1"]) == []


def test_tombstone_ends_the_task_that_comes_after_its_cancel() -> None:
    table = AttemptTable()
    assert table.cancel(["rrun.0.1"]) == []
    to_execution, to_monitor = table.accept([item(0)], ["file"], 0.0)
    assert to_execution.tasks == []
    assert [outcome.state for outcome in to_monitor.outcomes] == ["cancelled"]
    assert stages(table) == {"rrun.0.1": "ended"}


def test_cancel_of_an_ended_attempt_asks_nobody() -> None:
    table = AttemptTable()
    accept(table, 0)
    table.note_told([note(0, "ended")])
    assert table.cancel(["rrun.0.1"]) == []


def test_new_execution_process_is_fed_what_no_executor_has_told_of() -> None:
    table = AttemptTable()
    accept(table, 0, 1, 2, 3)
    table.note_told([note(0, "started"), note(1, "ended")])
    table.note_submitted(["rrun.2.1"])
    table.cancel(["rrun.2.1"])

    to_execution, _ = table.meet_execution(ExecutionHello(), 0.0)

    assert [task.attempt_id for task in to_execution.tasks] == ["rrun.2.1", "rrun.3.1"]
    assert [order.attempt_id for order in to_execution.cancels] == ["rrun.2.1"]


def test_new_main_learns_tasks_from_execution_and_ends_from_the_monitor() -> None:
    table = AttemptTable()
    waiting, submitted = make_task(0), make_task(1)
    end = Outcome(attempt_id="rrun.2.1", kind="ended", state="failed")
    hello = ExecutionHello(waiting=[waiting], submitted=[submitted, make_task(2)], ended=[end])
    table.meet_execution(hello, 0.0)
    _, is_unknown = table.meet_monitor(
        MonitorHello(notes=[note(1, "started"), note(3, "ended")]), 0.0
    )
    assert is_unknown
    assert stages(table) == {
        "rrun.0.1": "accepted",
        "rrun.1.1": "started",
        "rrun.2.1": "ended",
        "rrun.3.1": "ended",
    }


def test_new_monitor_is_told_all_tokens_and_the_ends_that_no_executor_tells() -> None:
    table = AttemptTable()
    accept(table, 0, 1)
    table.note_ended([Outcome(attempt_id="rrun.1.1", kind="ended", state="cancelled")])
    message, is_unknown = table.meet_monitor(MonitorHello(), 0.0)
    assert message.tokens == {"rrun.0.1": "t0", "rrun.1.1": "t1"}
    assert [outcome.attempt_id for outcome in message.outcomes] == ["rrun.1.1"]
    assert not is_unknown


def test_end_told_again_after_its_acknowledgement_may_be_released() -> None:
    """The monitor process was killed between its word to main and its word to the executor."""
    table = AttemptTable()
    accept(table, 0)
    table.note_acknowledged(["rrun.0.1"])
    message, is_unknown = table.meet_monitor(MonitorHello(notes=[note(0, "ended")]), 0.0)
    assert message.acknowledged == ["rrun.0.1"]
    assert not is_unknown
    assert table.inventory() == []


def test_registration_settles_what_was_found() -> None:
    table = AttemptTable()
    hello = ExecutionHello(submitted=[make_task(0), make_task(1), make_task(2)])
    table.meet_execution(hello, 0.0)
    table.note_told([note(1, "ended")])
    reply = RegistrationReply(
        epoch=1,
        reports_url="",
        heartbeat_s=1,
        lease_s=1,
        tokens={"rrun.0.1": "t0", "rrun.1.1": "t1", "rrun.2.1": "t2"},
        forget=["rrun.1.1", "rrun.2.1"],
        acknowledged=["rrun.1.1"],
    )
    to_execution, to_monitor = table.settle(reply)
    # What has ended need not be cancelled.
    assert [order.attempt_id for order in to_execution.cancels] == ["rrun.2.1"]
    assert to_monitor.acknowledged == ["rrun.1.1"]
    assert to_monitor.forget == ["rrun.1.1", "rrun.2.1"]
    assert stages(table) == {"rrun.0.1": "accepted"}
    message, is_unknown = table.note_told([note(2, "ended")])
    assert message.forget == ["rrun.2.1"]
    assert not is_unknown


def test_silent_submission_is_repeated_with_doubling_pauses() -> None:
    table = AttemptTable()
    accept(table, 0, 1, now=100.0)
    table.note_told([note(1, "accepted")])
    due = [now for now in range(100, 140) if table.find_overdue(float(now))]
    # 5 s after the acceptance, then 10 s and 20 s after the one before.
    assert due == [105, 115, 135]


def test_task_for_an_unknown_executor_ends_at_once() -> None:
    _, to_monitor = AttemptTable().accept([item(0, executor="ray")], ["file", "local"], 0.0)
    (outcome,) = to_monitor.outcomes
    assert (outcome.state, outcome.reason) == ("failed", "error")
    assert "file, local" in outcome.hint
