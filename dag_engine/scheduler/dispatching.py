"""Makes the message that hands a task to an operator engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dag_engine.core.live import LiveRun, LiveTask, attempt_id_of, provider
from dag_engine.core.plan import PlannedInput
from executors.base import ArtifactRef, Task
from executors.store import make_attempt_folder


def build_task(
    run: LiveRun, task: LiveTask, store_url: str, connections: Mapping[str, dict[str, Any]]
) -> Task:
    """Put together everything that the present attempt of a task needs."""
    plan, row = task.plan, task.row
    return Task(
        attempt_id=attempt_id_of(run.run_id, row.index, row.attempt),
        run_id=run.run_id,
        operator=plan.operator,
        index=row.index,
        attempt=row.attempt,
        algorithm=plan.algorithm,
        entry=plan.entry,
        code_version=plan.code_version,
        executor=plan.executor,
        params=plan.params,
        inputs=[[_artifact(run, edge) for edge in port] for port in plan.inputs],
        n_outputs=plan.n_outputs,
        seed=plan.seed,
        timeout_s=plan.timeout_s,
        resources=plan.resources,
        datasets=plan.datasets,
        connections={name: connections[name] for name in plan.connections if name in connections},
        folder=make_attempt_folder(store_url, run.run_id, row.index, row.attempt),
    )


def _artifact(run: LiveRun, edge: PlannedInput) -> ArtifactRef:
    if edge.artifact is not None:
        return edge.artifact
    assert edge.source is not None, "an edge has a source or an artifact"
    source = provider(run, edge.source)
    assert source is not None, "a task is handed out after its upstreams have succeeded"
    assert source.outputs is not None
    return source.outputs[edge.source_port]
