"""A run as the scheduler holds it in memory: plain data, and how it is made from what is stored."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import NamedTuple

from dag_engine.core.changes import Batch, RunRow, StoredRun, TaskRow
from dag_engine.core.plan import PlannedInput, PlannedTask
from dag_engine.core.states import FINAL_RUN_STATES, FINAL_TASK_STATES, RunState, TaskState
from executors.base import ArtifactRef


class WorkKeys(NamedTuple):
    """By what a task's work is known: without its seed, and with it."""

    plain: str
    seeded: str

    def choose(self, *, has_read_seed: bool) -> str:
        """Return the key that a result is known by."""
        return self.seeded if has_read_seed else self.plain


@dataclass(slots=True)
class LiveTask:
    """A task with its place in the graph.

    `n_waiting` counts the upstream tasks whose result is still missing. `rescues` are the tasks
    that this one stands in for should they fail; `is_called` says that one of them did.
    `is_provided` says that its results are there, from itself or an alternative. `has_read_seed`
    tells, once it has run, whether its result hangs on its seed. `keys` are kept once they are
    made; `n_waits` counts how often it has waited for an equal task, `looked_at` tells how much had
    been made when its own result was looked for.
    """

    plan: PlannedTask
    row: TaskRow
    state: TaskState
    downstream: list[int] = field(default_factory=list)
    rescues: list[int] = field(default_factory=list)
    n_waiting: int = 0
    is_called: bool = False
    is_provided: bool = False
    outputs: list[ArtifactRef] | None = None
    has_read_seed: bool = True
    keys: WorkKeys | None = None
    n_waits: int = 0
    looked_at: int = 0

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.state in FINAL_TASK_STATES


@dataclass(slots=True)
class LiveRun:
    """A run that is not final: its tasks by index, and what is derived from them.

    `is_stopping` says that a failure stopped it: nothing new starts. `dying` are the attempts of
    cancelled tasks whose processes have not been reported dead yet.
    """

    run_id: str
    namespace: str
    priority: int
    created_at: dt.datetime
    row: RunRow
    state: RunState
    tasks: list[LiveTask]
    n_unfinished: int = 0
    n_open: int = 0
    is_stopping: bool = False
    dying: set[str] = field(default_factory=set)

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.state in FINAL_RUN_STATES

    @property
    def may_start(self) -> bool:
        """Whether tasks of it may be handed out."""
        return self.state is RunState.RUNNING and not self.is_stopping


@dataclass(frozen=True, slots=True)
class Timer:
    """Something to come back to: a `retry`, a `timeout` or the `cancel` of a run that is
    overdue.
    """

    at: dt.datetime
    kind: str
    run_id: str
    index: int = -1
    attempt: int = 0


@dataclass(slots=True)
class Decision:
    """What follows from what happened at `now`: rows to store, then commands to carry out.

    `ready` are tasks that may be handed out. `kills` and `closed` name an operator engine and an
    attempt: to be killed there, or no longer counted there. `jitter` is a random number in [0, 1).
    """

    now: dt.datetime
    jitter: float = 0.5
    batch: Batch = field(default_factory=Batch)
    ready: list[tuple[LiveRun, LiveTask]] = field(default_factory=list)
    kills: list[tuple[str, str]] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    ended: list[LiveRun] = field(default_factory=list)


def attempt_id_of(run_id: str, index: int, attempt: int) -> str:
    """Name an attempt; executors derive their handle from it."""
    return f"{run_id}.{index}.{attempt}"


def split_attempt_id(attempt_id: str) -> tuple[str, int, int]:
    """Take an attempt's name apart. Raises `ValueError` where it is none."""
    run_id, index, attempt = attempt_id.rsplit(".", 2)
    return run_id, int(index), int(attempt)


def revive(stored: StoredRun) -> LiveRun:
    """Make the live form of a stored run, whatever state it was left in."""
    counts: dict[str, int] = {}
    for row in stored.tasks:
        counts[row.state] = counts.get(row.state, 0) + 1
    run_row = RunRow(
        run_id=stored.run_id,
        state=stored.state,
        reason_code=stored.reason_code,
        reason=stored.reason,
        started_at=stored.started_at,
        ended_at=None,
        last_seq=stored.last_seq,
        counts=counts,
    )
    tasks = [
        LiveTask(
            plan=plan, row=row, state=TaskState(row.state), outputs=stored.outputs.get(row.index)
        )
        for plan, row in zip(stored.plan.tasks, stored.tasks, strict=True)
    ]
    run = LiveRun(
        run_id=stored.run_id,
        namespace=stored.namespace,
        priority=stored.priority,
        created_at=stored.created_at,
        row=run_row,
        state=RunState(stored.state),
        tasks=tasks,
    )
    _derive(run)
    return run


def _derive(run: LiveRun) -> None:
    for task in run.tasks:
        for source in task.plan.upstream:
            run.tasks[source].downstream.append(task.plan.index)
        if task.plan.alternative is not None:
            run.tasks[task.plan.alternative].rescues.append(task.plan.index)
    for task in run.tasks:
        task.is_provided = provider(run, task.plan.index) is not None
    for task in run.tasks:
        task.n_waiting = sum(not run.tasks[source].is_provided for source in task.plan.upstream)
        task.is_called = any(run.tasks[i].state is TaskState.FAILED for i in task.rescues)
        run.n_unfinished += not task.is_final
        run.n_open += task.state in (TaskState.QUEUED, TaskState.RUNNING)
        if task.state is TaskState.FAILED and task.plan.on_failure == "stop":
            run.is_stopping = True


def provider(run: LiveRun, index: int) -> LiveTask | None:
    """Return the task whose outputs count as those of `index`: itself, or the alternative that
    stood in.
    """
    task = run.tasks[index]
    while task.state is not TaskState.SUCCEEDED:
        if task.state is not TaskState.FAILED or task.plan.alternative is None:
            return None
        task = run.tasks[task.plan.alternative]
    return task


def find_input(run: LiveRun, edge: PlannedInput) -> ArtifactRef:
    """Return what an edge brings to a task whose upstreams have all succeeded."""
    if edge.artifact is not None:
        return edge.artifact
    assert edge.source is not None, "an edge has a source or an artifact"
    source = provider(run, edge.source)
    assert source is not None, "a task may start after its upstreams have succeeded"
    assert source.outputs is not None
    return source.outputs[edge.source_port]


def is_hopeless(run: LiveRun, task: LiveTask) -> bool:
    """Tell whether neither the task nor whatever stands in for it can succeed any more."""
    while task.state is TaskState.FAILED and task.plan.alternative is not None:
        task = run.tasks[task.plan.alternative]
    return task.is_final and task.state is not TaskState.SUCCEEDED
