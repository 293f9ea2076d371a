"""The two state machines: one table of moves for tasks, one for runs; nothing else assigns a
state.
"""

from __future__ import annotations

from enum import StrEnum

from dag_engine.core.errors import IllegalMoveError


class TaskState(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    READY = "ready"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"


class TaskEvent(StrEnum):
    """What can happen to a task."""

    MADE_READY = "made_ready"
    HANDED_OUT = "handed_out"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    CACHED = "cached"
    FAILED = "failed"
    RETRY_PLANNED = "retry_planned"
    RETRY_DUE = "retry_due"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"


class RunState(StrEnum):
    """Where a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunEvent(StrEnum):
    """What can happen to a run."""

    STARTED = "started"
    PAUSE_ASKED = "pause_asked"
    DRAINED = "drained"
    RESUME_ASKED = "resume_asked"
    CANCEL_ASKED = "cancel_asked"
    ALL_STOPPED = "all_stopped"
    ALL_SUCCEEDED = "all_succeeded"
    SOME_FAILED = "some_failed"


_T, _E = TaskState, TaskEvent

TASK_MOVES: dict[tuple[TaskState, TaskEvent], TaskState] = {
    (_T.PENDING, _E.MADE_READY): _T.READY,
    (_T.PENDING, _E.HANDED_OUT): _T.QUEUED,
    (_T.PENDING, _E.CACHED): _T.SUCCEEDED,
    (_T.PENDING, _E.CANCELLED): _T.CANCELLED,
    (_T.PENDING, _E.SKIPPED): _T.SKIPPED,
    (_T.PENDING, _E.UPSTREAM_FAILED): _T.UPSTREAM_FAILED,
    (_T.READY, _E.HANDED_OUT): _T.QUEUED,
    (_T.READY, _E.CACHED): _T.SUCCEEDED,
    (_T.READY, _E.CANCELLED): _T.CANCELLED,
    (_T.READY, _E.SKIPPED): _T.SKIPPED,
    (_T.QUEUED, _E.STARTED): _T.RUNNING,
    (_T.QUEUED, _E.SUCCEEDED): _T.SUCCEEDED,
    (_T.QUEUED, _E.FAILED): _T.FAILED,
    (_T.QUEUED, _E.RETRY_PLANNED): _T.RETRYING,
    (_T.QUEUED, _E.CANCELLED): _T.CANCELLED,
    (_T.RUNNING, _E.SUCCEEDED): _T.SUCCEEDED,
    (_T.RUNNING, _E.FAILED): _T.FAILED,
    (_T.RUNNING, _E.RETRY_PLANNED): _T.RETRYING,
    (_T.RUNNING, _E.CANCELLED): _T.CANCELLED,
    (_T.RETRYING, _E.RETRY_DUE): _T.READY,
    (_T.RETRYING, _E.HANDED_OUT): _T.QUEUED,
    (_T.RETRYING, _E.CACHED): _T.SUCCEEDED,
    (_T.RETRYING, _E.FAILED): _T.FAILED,
    (_T.RETRYING, _E.CANCELLED): _T.CANCELLED,
}

_R, _V = RunState, RunEvent

RUN_MOVES: dict[tuple[RunState, RunEvent], RunState] = {
    (_R.PENDING, _V.STARTED): _R.RUNNING,
    (_R.PENDING, _V.CANCEL_ASKED): _R.CANCELLING,
    (_R.RUNNING, _V.PAUSE_ASKED): _R.PAUSING,
    (_R.RUNNING, _V.CANCEL_ASKED): _R.CANCELLING,
    (_R.RUNNING, _V.ALL_SUCCEEDED): _R.SUCCEEDED,
    (_R.RUNNING, _V.SOME_FAILED): _R.FAILED,
    (_R.PAUSING, _V.DRAINED): _R.PAUSED,
    (_R.PAUSING, _V.RESUME_ASKED): _R.RUNNING,
    (_R.PAUSING, _V.CANCEL_ASKED): _R.CANCELLING,
    (_R.PAUSING, _V.ALL_SUCCEEDED): _R.SUCCEEDED,
    (_R.PAUSING, _V.SOME_FAILED): _R.FAILED,
    (_R.PAUSED, _V.RESUME_ASKED): _R.RUNNING,
    (_R.PAUSED, _V.CANCEL_ASKED): _R.CANCELLING,
    (_R.PAUSED, _V.ALL_SUCCEEDED): _R.SUCCEEDED,
    (_R.PAUSED, _V.SOME_FAILED): _R.FAILED,
    (_R.CANCELLING, _V.ALL_STOPPED): _R.CANCELLED,
}

FINAL_TASK_STATES = frozenset(TaskState) - {state for state, _ in TASK_MOVES}
FINAL_RUN_STATES = frozenset(RunState) - {state for state, _ in RUN_MOVES}
OPEN_TASK_STATES = frozenset({TaskState.QUEUED, TaskState.RUNNING})
"""States in which an attempt is out at an operator engine."""
WAITING_TASK_STATES = frozenset({TaskState.PENDING, TaskState.READY, TaskState.RETRYING})
"""States in which a task may be handed out once it is offered."""
NOT_NEEDED = "not_needed"
"""Reason code of a task that was skipped because nobody needs its result."""
CACHED = "cached"
"""Reason code of a task that a former result stands in for."""


def move_task(state: TaskState, event: TaskEvent) -> TaskState:
    """Return the state after the event. Raises `IllegalMoveError` where the table has no such
    row.
    """
    try:
        return TASK_MOVES[state, event]
    except KeyError:
        raise IllegalMoveError("task", state, event) from None


def move_run(state: RunState, event: RunEvent) -> RunState:
    """Return the state after the event. Raises `IllegalMoveError` where the table has no such
    row.
    """
    try:
        return RUN_MOVES[state, event]
    except KeyError:
        raise IllegalMoveError("run", state, event) from None
