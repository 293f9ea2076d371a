"""Makes runs in memory for tests of the machine: operators by name, edges by name."""

from __future__ import annotations

import datetime as dt
from typing import Any

from dag_engine.core.changes import StoredRun, TaskRow
from dag_engine.core.live import LiveRun, revive
from dag_engine.core.plan import Plan, PlannedInput, PlannedTask
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
