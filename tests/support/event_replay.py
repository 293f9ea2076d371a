"""Builds the states of a run and of its tasks from its events alone, and compares them with what is
stored.

It shares nothing with the code that decides but the plan and the table of moves: whatever the
events tell is played by hand, and each one that cannot follow from those before it is a problem.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dag_engine.core.plan import PlannedTask
from dag_engine.core.states import RUN_MOVES, TASK_MOVES

FINAL_TASKS = frozenset({"succeeded", "failed", "cancelled", "skipped", "upstream_failed"})
FINAL_RUNS = frozenset({"succeeded", "failed", "cancelled"})
_OPEN_TASKS = frozenset({"queued", "running"})
_TASK_STEPS = frozenset((str(old), str(new)) for (old, _), new in TASK_MOVES.items())
_RUN_STEPS = frozenset((str(old), str(new)) for (old, _), new in RUN_MOVES.items())
_ATTEMPT_ENDS = {
    "succeeded": "succeeded",
    "failed": "failed",
    "retrying": "failed",
    "cancelled": "cancelled",
}


class Event(Protocol):
    """An event, as the core makes it or as any database returns it."""

    seq: int
    at: dt.datetime
    kind: str
    operator: str | None
    attempt: int
    from_state: str
    to_state: str
    reason_code: str


class StoredTask(Protocol):
    """What is stored of a task."""

    operator: str
    state: str
    attempt: int
    reason_code: str


class StoredAttempt(Protocol):
    """What is stored of an attempt; `index` is that of its task in the plan."""

    index: int
    attempt: int
    state: str


@dataclass(frozen=True, slots=True)
class StoredState:
    """What is stored of a run."""

    run_id: str
    state: str
    reason_code: str
    last_seq: int
    counts: dict[str, int]
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    tasks: Sequence[StoredTask]
    attempts: Sequence[StoredAttempt]


@dataclass(slots=True)
class Replay:
    """The states that the events of one run lead to; everything by the task's index in the plan.

    `handed_out` are all attempts, `attempt_ends` tells how those that are over have ended.
    `problems` are sentences about events that cannot follow from those before them.
    """

    plan: Sequence[PlannedTask]
    run_state: str = "pending"
    run_reason: str = ""
    last_seq: int = 0
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    states: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    handed_out: set[tuple[int, int]] = field(default_factory=set)
    attempt_ends: dict[tuple[int, int], str] = field(default_factory=dict)
    is_stopped: bool = False
    problems: list[str] = field(default_factory=list)
    indexes: dict[str, int] = field(default_factory=dict)
    rescues: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.states = ["pending"] * len(self.plan)
        self.reasons = [""] * len(self.plan)
        self.attempts = [0] * len(self.plan)
        self.indexes = {task.operator: task.index for task in self.plan}
        for task in self.plan:
            if task.alternative is not None:
                self.rescues.setdefault(task.alternative, []).append(task.index)

    def play(self, event: Event) -> None:
        """Play the next event."""
        if event.seq != self.last_seq + 1:
            self.problems.append(f"event {event.seq} comes after event {self.last_seq}")
        self.last_seq = event.seq
        if self.run_state in FINAL_RUNS:
            self.problems.append(f"event {event.seq} comes after the run's end")
        if event.kind == "run" and event.operator is None:
            _play_run(self, event)
        elif event.kind == "restored" and event.operator is None:
            _play_restore(self, event)
        elif event.kind == "task" and event.operator in self.indexes:
            _play_task(self, self.indexes[event.operator], event)
        else:
            self.problems.append(
                f"event {event.seq} is of nothing known: {event.kind} {event.operator}"
            )

    def tasks(self) -> dict[str, str]:
        """Return the state of every task by its operator."""
        return {task.operator: state for task, state in zip(self.plan, self.states, strict=True)}

    def counts(self) -> dict[str, int]:
        """Return the number of tasks by state."""
        counts: dict[str, int] = {}
        for state in self.states:
            counts[state] = counts.get(state, 0) + 1
        return counts

    def attempt_state(self, index: int, attempt: int) -> str:
        """Return the state of an attempt."""
        return self.attempt_ends.get((index, attempt), self.states[index])


def replay_events(plan: Sequence[PlannedTask], events: Iterable[Event]) -> Replay:
    """Play the events of one run, in the order of their numbers."""
    replay = Replay(plan)
    for event in events:
        replay.play(event)
    return replay


def _play_run(replay: Replay, event: Event) -> None:
    if event.from_state != replay.run_state:
        replay.problems.append(
            f"event {event.seq} leaves the run's state {event.from_state}, it is {replay.run_state}"
        )
    if (event.from_state, event.to_state) not in _RUN_STEPS:
        replay.problems.append(
            f"event {event.seq} moves the run from {event.from_state} to {event.to_state}"
        )
    replay.run_state, replay.run_reason = event.to_state, event.reason_code
    if event.to_state == "running" and replay.started_at is None:
        replay.started_at = event.at
    if event.to_state in FINAL_RUNS:
        replay.ended_at = event.at
        _check_end(replay, event)


def _play_restore(replay: Replay, event: Event) -> None:
    """After a restore, whatever is not over goes on under numbers that were moved by a step."""
    for index, state in enumerate(replay.states):
        if state not in FINAL_TASKS:
            former = (index, replay.attempts[index])
            replay.attempts[index] += event.attempt
            if state in _OPEN_TASKS:
                replay.handed_out.remove(former)
                replay.handed_out.add((index, replay.attempts[index]))


def _check_end(replay: Replay, event: Event) -> None:
    """A run's end follows from the ends of its tasks."""
    open_ones = [name for name, state in replay.tasks().items() if state not in FINAL_TASKS]
    if open_ones:
        replay.problems.append(f"event {event.seq} ends the run before {', '.join(open_ones)}")
    if event.from_state == "cancelling":
        expected = "cancelled"
    elif any(_makes_failed(replay, index) for index in range(len(replay.plan))):
        expected = "failed"
    else:
        expected = "succeeded"
    if event.to_state != expected:
        replay.problems.append(
            f"event {event.seq} ends the run as {event.to_state}, its tasks say {expected}"
        )


def _makes_failed(replay: Replay, index: int) -> bool:
    state = replay.states[index]
    if state == "failed":
        return not _is_provided(replay, index)
    return state in ("cancelled", "upstream_failed")


def _is_provided(replay: Replay, index: int) -> bool:
    """Tell whether a task's results are there, from itself or from what stands in for it."""
    while replay.states[index] != "succeeded":
        alternative = replay.plan[index].alternative
        if replay.states[index] != "failed" or alternative is None:
            return False
        index = alternative
    return True


def _play_task(replay: Replay, index: int, event: Event) -> None:
    old, new, where = event.from_state, event.to_state, f"event {event.seq} of {event.operator}"
    if old != replay.states[index]:
        replay.problems.append(f"{where} leaves the state {old}, it is {replay.states[index]}")
    if (old, new) not in _TASK_STEPS:
        replay.problems.append(f"{where} moves it from {old} to {new}")
    attempt = replay.attempts[index] + (new == "queued")
    if event.attempt != attempt:
        replay.problems.append(f"{where} is of attempt {event.attempt}, expected is {attempt}")
    if replay.run_state == "pending":
        replay.problems.append(f"{where} comes before the run's start")
    is_cached = new == "succeeded" and old not in _OPEN_TASKS
    _check_origin(replay, event, is_cached=is_cached)
    if new == "queued" or is_cached:
        replay.problems += [f"{where} {text}" for text in _find_obstacles(replay, index)]
    elif new == "skipped" and _is_needed(replay, index, event):
        replay.problems.append(f"{where} skips what is needed")
    if old in _OPEN_TASKS and new in _ATTEMPT_ENDS:
        replay.attempt_ends[index, event.attempt] = _ATTEMPT_ENDS[new]
    replay.states[index] = new
    replay.reasons[index] = event.reason_code
    replay.attempts[index] = event.attempt
    if new == "queued":
        replay.handed_out.add((index, event.attempt))
    if new == "failed" and replay.plan[index].on_failure == "stop":
        replay.is_stopped = True


def _check_origin(replay: Replay, event: Event, *, is_cached: bool) -> None:
    """A task succeeds without an attempt that is out by a former result alone, and says so."""
    if is_cached != (event.reason_code == "cached"):
        replay.problems.append(
            f"event {event.seq} of {event.operator} goes from {event.from_state} to "
            f"{event.to_state} as {event.reason_code!r}"
        )


def _find_obstacles(replay: Replay, index: int) -> Iterable[str]:
    """Tell why a task must not be handed out now, nor be given a former result."""
    task = replay.plan[index]
    if replay.run_state != "running":
        yield f"is handed out while the run is {replay.run_state}"
    if replay.is_stopped:
        yield "is handed out after a failure stopped the run"
    for source in task.upstream:
        if not _is_provided(replay, source):
            yield f"is handed out before the results of {replay.plan[source].operator} are there"
    if task.is_alternative and all(
        replay.states[other] != "failed" for other in replay.rescues.get(index, ())
    ):
        yield "is handed out though nothing failed that it stands in for"


def _is_needed(replay: Replay, index: int, event: Event) -> bool:
    """Tell whether a skipped task was neither stopped nor dispensable."""
    if event.reason_code != "not_needed":
        return not replay.is_stopped
    task = replay.plan[index]
    if index in replay.rescues:
        ended = [replay.states[other] for other in replay.rescues[index]]
        if all(state in FINAL_TASKS and state != "failed" for state in ended):
            return False
    return all(replay.states[source] != "skipped" for source in task.upstream)


def check_stored(replay: Replay, stored: StoredState) -> list[str]:
    """Compare what the events lead to with what is stored; return every difference."""
    problems = list(replay.problems)
    expected = {
        "state": replay.run_state,
        "reason": replay.run_reason,
        "last event": replay.last_seq,
        "counts": replay.counts(),
        "start": replay.started_at,
        "end": replay.ended_at,
    }
    found = {
        "state": str(stored.state),
        "reason": stored.reason_code,
        "last event": stored.last_seq,
        "counts": {str(state): number for state, number in stored.counts.items() if number},
        "start": stored.started_at,
        "end": stored.ended_at,
    }
    for name, value in expected.items():
        if found[name] != value:
            problems.append(f"the run's {name} is {found[name]}, its events say {value}")
    problems += _compare_tasks(replay, stored.tasks)
    problems += _compare_attempts(replay, stored.attempts)
    return [f"{stored.run_id}: {problem}" for problem in problems]


def _compare_tasks(replay: Replay, tasks: Sequence[StoredTask]) -> Iterable[str]:
    names = [task.operator for task in replay.plan]
    if [task.operator for task in tasks] != names:
        yield f"the tasks are {[task.operator for task in tasks]}, the plan has {names}"
        return
    for index, task in enumerate(tasks):
        told = (replay.states[index], replay.attempts[index])
        if (task.state, task.attempt) != told:
            yield f"{task.operator} is stored as {task.state, task.attempt}, its events say {told}"
        # What a task waits for may change while it waits; that is no event.
        if task.state != "ready" and task.reason_code != replay.reasons[index]:
            yield (
                f"{task.operator} has the reason {task.reason_code!r}, its events say "
                f"{replay.reasons[index]!r}"
            )


def _compare_attempts(replay: Replay, attempts: Sequence[StoredAttempt]) -> Iterable[str]:
    found = {(row.index, row.attempt): str(row.state) for row in attempts}
    expected = {}
    for index, number in replay.handed_out:
        expected[index, number] = replay.attempt_state(index, number)
    for key in sorted({*found, *expected}):
        if found.get(key) != expected.get(key):
            name, number = replay.plan[key[0]].operator, key[1]
            yield (
                f"attempt {number} of {name} is stored as {found.get(key)}, the events say "
                f"{expected.get(key)}"
            )
    for index in range(len(replay.plan)):
        ends = [end for (i, _), end in replay.attempt_ends.items() if i == index]
        if ends.count("succeeded") > 1:
            yield f"{replay.plan[index].operator} has succeeded {ends.count('succeeded')} times"
