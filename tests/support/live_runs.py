"""Makes runs in memory for tests of the machine, and plays them: operators and edges by name."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from dag_engine.core import machine
from dag_engine.core.changes import StoredRun, TaskRow
from dag_engine.core.live import Decision, LiveRun, LiveTask, attempt_id_of, revive
from dag_engine.core.plan import Plan, PlannedInput, PlannedTask
from dag_engine.core.states import TaskState
from executors.base import ArtifactRef, Outcome

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def make_run(
    edges: list[tuple[str, str]],
    run_id: str = "r1",
    details: dict[str, dict[str, Any]] | None = None,
) -> LiveRun:
    """Make a pending run; `details` adds fields of `PlannedTask` by operator."""
    details = details or {}
    names = list(dict.fromkeys([name for edge in edges for name in edge] + list(details)))
    index = {name: i for i, name in enumerate(names)}
    alternatives = {d["alternative"] for d in details.values() if "alternative" in d}
    tasks = []
    for name in names:
        sources = [source for source, target in edges if target == name and source]
        extra = dict(details.get(name, {}))
        if "alternative" in extra:
            extra["alternative"] = index[extra["alternative"]]
            extra["on_failure"] = "alternative"
        tasks.append(
            PlannedTask(
                index=index[name],
                operator=name,
                algorithm="noop",
                entry="m:f",
                inputs=[[PlannedInput(source=index[source])] for source in sources],
                upstream=sorted(index[source] for source in sources),
                n_outputs=1,
                is_alternative=name in alternatives,
                **extra,
            )
        )
    return revive(
        StoredRun(
            run_id=run_id,
            namespace="default",
            state="pending",
            reason_code="",
            reason="",
            priority=0,
            created_at=NOON,
            started_at=None,
            last_seq=0,
            plan=Plan(tasks=tasks),
            tasks=[TaskRow(run_id, task.index, task.operator, "pending") for task in tasks],
            outputs={},
        )
    )


def ended(attempt_id: str, state: Any = "succeeded", reason: str = "") -> Outcome:
    """Make an end of an attempt with one small output."""
    outputs = (
        [ArtifactRef(type="report", inline={"from": attempt_id})] if state == "succeeded" else []
    )
    return Outcome(
        attempt_id=attempt_id,
        kind="ended",
        state=state,
        reason=reason,
        message=reason,
        outputs=outputs,
    )


def states_of(run: LiveRun) -> dict[str, str]:
    """Return the state of every task by operator."""
    return {task.plan.operator: str(task.state) for task in run.tasks}


class Stage:
    """Plays a run by hand: everything that is ready is handed out at once unless told otherwise."""

    def __init__(self, run: LiveRun) -> None:
        self.run = run
        self.now = NOON
        self.decisions: list[Decision] = []
        self.waiting: list[LiveTask] = []
        self.timers: list[Any] = []
        self.kills: list[str] = []

    def decide(self, function: Callable[..., Any], *args: Any) -> Any:
        """Let the machine decide on something that happens a second later."""
        self.now += dt.timedelta(seconds=1)
        out = Decision(now=self.now)
        result = function(self.run, *args, out)
        self.waiting += [task for _, task in out.ready]
        self.timers += out.timers
        self.kills += [attempt_id for _, attempt_id in out.kills]
        self.decisions.append(out)
        return result

    def hand_out_all(self) -> None:
        """Hand out whatever waits for it."""
        waiting, self.waiting = self.waiting, []
        for task in waiting:
            if task.state in (TaskState.PENDING, TaskState.READY, TaskState.RETRYING):
                self.decide(machine.hand_out, task, "engine")

    def start(self) -> Stage:
        """Start the run."""
        self.decide(machine.start_run)
        self.hand_out_all()
        return self

    def end(self, operator: str, state: str = "succeeded", reason: str = "") -> str:
        """End the present attempt of an operator; gives the verdict."""
        task = self.task(operator)
        outcome = ended(self.attempt(operator), state, reason)
        verdict: str = self.decide(machine.attempt_ended, task.plan.index, outcome)
        self.hand_out_all()
        return verdict

    def task(self, operator: str) -> LiveTask:
        """Find the task of an operator."""
        return next(task for task in self.run.tasks if task.plan.operator == operator)

    def attempt(self, operator: str) -> str:
        """Name the present attempt of an operator."""
        task = self.task(operator)
        return attempt_id_of(self.run.run_id, task.plan.index, task.row.attempt)

    @property
    def states(self) -> dict[str, str]:
        """The state of every task by operator."""
        return states_of(self.run)
