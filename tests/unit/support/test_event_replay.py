"""The replay of events finds every difference; a checker that cannot fail is worth nothing."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from dag_engine.core import machine
from dag_engine.core.changes import AttemptRow, EventRow
from dag_engine.core.live import Decision
from tests.support.event_replay import StoredState, check_stored, replay_events
from tests.support.live_runs import Stage, ended, make_run

DIAMOND = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]


class History:
    """The events of a run that was played, and its rows as a database would hold them."""

    def __init__(self, stage: Stage) -> None:
        self.plan = [task.plan for task in stage.run.tasks]
        self.events: list[EventRow] = []
        attempts: dict[Any, AttemptRow] = {}
        for decision in stage.decisions:
            self.events += copy.deepcopy(decision.batch.events)
            attempts.update(decision.batch.attempts)
        row = stage.run.row
        self.stored = StoredState(
            run_id=row.run_id,
            state=row.state,
            reason_code=row.reason_code,
            last_seq=row.last_seq,
            counts=dict(row.counts),
            started_at=row.started_at,
            ended_at=row.ended_at,
            tasks=[copy.deepcopy(task.row) for task in stage.run.tasks],
            attempts=list(attempts.values()),
        )

    def problems(self, **changes: Any) -> list[str]:
        stored = dataclasses.replace(self.stored, **changes)
        return check_stored(replay_events(self.plan, self.events), stored)


def play_diamond() -> History:
    """One loss and its retry, one alternative that stands in, and a success."""
    run = make_run([*DIAMOND, ("a", "x")], details={"b": {"alternative": "x"}})
    stage = Stage(run).start()
    stage.decide(machine.lose_attempt, 0, "gone")
    stage.decide(machine.retry_due, 0, 1)
    stage.hand_out_all()
    stage.end("a")
    stage.end("b", "failed", "error")
    stage.end("c")
    stage.end("x")
    stage.end("d")
    assert stage.run.is_final
    return History(stage)


def test_a_sound_history_has_no_problems() -> None:
    history = play_diamond()
    assert history.problems() == []
    replay = replay_events(history.plan, history.events)
    assert replay.run_state == "succeeded"
    assert replay.tasks() == {
        "a": "succeeded",
        "b": "failed",
        "c": "succeeded",
        "d": "succeeded",
        "x": "succeeded",
    }
    assert replay.attempt_ends[0, 1] == "failed"
    assert replay.attempt_ends[0, 2] == "succeeded"


def test_stopped_cancelled_and_paused_runs_have_no_problems() -> None:
    stopped = Stage(make_run(DIAMOND)).start()
    stopped.end("a")
    stopped.end("b", "failed", "error")
    assert History(stopped).problems() == []
    cancelled = Stage(make_run(DIAMOND)).start()
    cancelled.decide(machine.pause_run)
    cancelled.decide(machine.attempt_ended, 0, ended(cancelled.attempt("a")))
    cancelled.waiting.clear()
    cancelled.decide(machine.resume_run)
    cancelled.hand_out_all()
    cancelled.decide(machine.cancel_run)
    cancelled.decide(machine.cancel_overdue)
    assert cancelled.run.state == "cancelled"
    assert History(cancelled).problems() == []


def find(events: list[EventRow], operator: str | None, to_state: str) -> int:
    return next(i for i, e in enumerate(events) if (e.operator, e.to_state) == (operator, to_state))


def swap_last_two(events: list[EventRow]) -> None:
    events[-1], events[-2] = events[-2], events[-1]


def drop_one(events: list[EventRow]) -> None:
    del events[3]


def repeat_one(events: list[EventRow]) -> None:
    events.insert(4, events[3])


def hand_out_too_early(events: list[EventRow]) -> None:
    early = events.pop(find(events, "d", "queued"))
    events.insert(find(events, "c", "succeeded"), early)
    renumber(events)


def call_the_alternative_for_nothing(events: list[EventRow]) -> None:
    early = events.pop(find(events, "x", "queued"))
    events.insert(find(events, "b", "failed"), early)
    renumber(events)


def go_on_after_the_end(events: list[EventRow]) -> None:
    events.append(dataclasses.replace(events[-2], seq=events[-1].seq + 1))


def reuse_the_attempt(events: list[EventRow]) -> None:
    events[find(events, "d", "queued")].attempt = 2


def succeed_without_need(events: list[EventRow]) -> None:
    events[-1].to_state = "failed"


def renumber(events: list[EventRow]) -> None:
    for seq, event in enumerate(events, 1):
        event.seq = seq


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (swap_last_two, "comes after event"),
        (drop_one, "comes after event"),
        (repeat_one, "comes after event"),
        (hand_out_too_early, "before the results of c are there"),
        (call_the_alternative_for_nothing, "nothing failed that it stands in for"),
        (go_on_after_the_end, "after the run's end"),
        (reuse_the_attempt, "is of attempt 2, expected is 1"),
        (succeed_without_need, "its tasks say succeeded"),
    ],
)
def test_events_that_cannot_follow_are_found(
    spoil: Callable[[list[EventRow]], None], told: str
) -> None:
    history = play_diamond()
    spoil(history.events)
    assert any(told in problem for problem in history.problems())


def test_a_task_handed_out_in_a_pause_or_after_a_stop_is_found() -> None:
    stage = Stage(make_run(DIAMOND)).start()
    stage.end("a")
    stage.decide(machine.pause_run)
    stage.decide(machine.lose_attempt, 1, "gone")
    stage.decide(machine.hand_out, stage.task("b"), "engine")
    assert any("while the run is pausing" in p for p in History(stage).problems())
    stage = Stage(make_run([("a", "b"), ("c", "d")])).start()
    stage.end("a", "failed", "error")
    run, task = stage.run, stage.task("d")
    stage.end("c")
    task.state = type(task.state).PENDING
    machine.hand_out(run, task, "engine", Decision(now=stage.now))
    history = History(stage)
    seq = history.events[-1].seq + 1
    history.events.append(EventRow("r1", seq, stage.now, "task", "d", 1, "pending", "queued"))
    assert any("after a failure stopped the run" in p for p in history.problems())


MOMENT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"state": "failed"}, "the run's state"),
        ({"reason_code": "error"}, "the run's reason"),
        ({"last_seq": 7}, "the run's last event"),
        ({"counts": {"succeeded": 5}}, "the run's counts"),
        ({"started_at": MOMENT}, "the run's start"),
        ({"ended_at": None}, "the run's end"),
        ({"attempts": []}, "attempt 1 of a is stored as None"),
        ({"tasks": []}, "the tasks are"),
    ],
)
def test_rows_that_differ_are_found(changes: dict[str, Any], told: str) -> None:
    assert any(told in problem for problem in play_diamond().problems(**changes))


@pytest.mark.parametrize("change", [{"state": "failed"}, {"attempt": 3}, {"reason_code": "cached"}])
def test_a_task_that_differs_is_found(change: dict[str, Any]) -> None:
    history = play_diamond()
    for name, value in change.items():
        setattr(history.stored.tasks[0], name, value)
    assert any(problem.startswith("r1: a ") for problem in history.problems())
