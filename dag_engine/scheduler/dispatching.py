"""Makes the message that hands a task to an operator engine."""

from __future__ import annotations

from dag_engine.core.live import LiveRun, LiveTask, attempt_id_of, find_input
from executors.base import Task
from executors.store import make_attempt_folder


def build_task(run: LiveRun, task: LiveTask, store_url: str) -> Task:
    """Put together everything that the present attempt of a task needs.

    Connections and secrets are named only; the courier fills them in, sealed.
    """
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
        inputs=[[find_input(run, edge) for edge in port] for port in plan.inputs],
        n_outputs=plan.n_outputs,
        seed=plan.seed,
        timeout_s=plan.timeout_s,
        resources=plan.resources,
        datasets=plan.datasets,
        namespace=run.namespace,
        connections={name: {} for name in plan.connections},
        secrets=dict.fromkeys(plan.secrets, ""),
        folder=make_attempt_folder(store_url, run.run_id, row.index, row.attempt),
    )
