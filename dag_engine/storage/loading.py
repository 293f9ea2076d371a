"""Loads what a scheduler needs when it takes up runs, or starts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.core.changes import StoredEngine, StoredRun, TaskRow
from dag_engine.core.plan import Plan
from dag_engine.core.states import RunState, TaskState
from dag_engine.storage import chunks, tables
from executors.base import ArtifactRef

_IDS_AT_ONCE = 200
_plan_decoder = msgspec.json.Decoder(Plan)
_ref_decoder = msgspec.json.Decoder(ArtifactRef)

_TASK_COLUMNS = tables.columns(
    tables.tasks,
    "run_id idx operator state reason_code reason attempt engine_id n_failures n_losses "
    "not_before started_at ended_at progress metrics",
)
_runs, _tasks, _plans, _outputs = (
    tables.runs.c, tables.tasks.c, tables.run_plans.c, tables.artifacts.c
)  # fmt: skip
_IDS: sa.BindParameter[str] = sa.bindparam("ids", expanding=True)
# Made once: to put a statement together costs as much as to carry it out.
_RUNS = sa.select(
    _runs.run_id, _runs.namespace, _runs.state, _runs.reason_code, _runs.reason, _runs.priority,
    _runs.created_at, _runs.started_at, _runs.last_seq,
).where(_runs.run_id.in_(_IDS))  # fmt: skip
_PLAN_PARTS = (
    sa.select(_plans.run_id, _plans.data)
    .where(_plans.run_id.in_(_IDS))
    .order_by(_plans.run_id, _plans.part)
)
_TASKS = (
    sa.select(*_TASK_COLUMNS).where(_tasks.run_id.in_(_IDS)).order_by(_tasks.run_id, _tasks.idx)
)
_OUTPUTS = (
    sa.select(_outputs.run_id, _outputs.idx, _outputs.ref)
    .where(_outputs.run_id.in_(_IDS))
    .order_by(_outputs.run_id, _outputs.idx, _outputs.port)
)


def batches(values: list[Any], size: int = _IDS_AT_ONCE) -> Iterator[list[Any]]:
    """Cut a list of keys into pieces that a statement can carry."""
    for at in range(0, len(values), size):
        yield values[at : at + size]


def json_value(text: str | None) -> Any:
    """Read JSON text of the database; None stays None."""
    return None if text is None else msgspec.json.decode(text)


def load_runs(connection: Connection, run_ids: list[str]) -> list[StoredRun]:
    """Load runs with plans, tasks and outputs, in the order of the ids."""
    found: dict[str, StoredRun] = {}
    for ids in batches(run_ids):
        for run in _load_some(connection, ids):
            found[run.run_id] = run
    return [found[run_id] for run_id in run_ids if run_id in found]


def _load_some(connection: Connection, ids: list[str]) -> Iterator[StoredRun]:
    rows = connection.execute(_RUNS, {"ids": ids}).all()
    plans = _load_plans(connection, ids)
    # What nobody has taken up is as it was accepted: its tasks wait, and nothing came out of them.
    # Unless it was restored from a copy: that is an event, and moves the numbers of attempts.
    begun = {row.run_id for row in rows if row.state != RunState.PENDING or row.last_seq}
    tasks = _load_tasks(connection, sorted(begun)) if begun else {}
    outputs = _load_outputs(connection, sorted(begun)) if begun else {}
    for row in rows:
        plan = plans[row.run_id]
        yield StoredRun(
            run_id=row.run_id,
            namespace=row.namespace,
            state=row.state,
            reason_code=row.reason_code,
            reason=row.reason or "",
            priority=row.priority,
            created_at=row.created_at,
            started_at=row.started_at,
            last_seq=row.last_seq,
            plan=plan,
            tasks=tasks[row.run_id] if row.run_id in begun else _make_tasks(row.run_id, plan),
            outputs=outputs.get(row.run_id, {}),
        )


def _load_plans(connection: Connection, ids: list[str]) -> dict[str, Plan]:
    pieces: dict[str, list[bytes]] = defaultdict(list)
    for run_id, data in connection.execute(_PLAN_PARTS, {"ids": ids}):
        pieces[run_id].append(data)
    return {run_id: _plan_decoder.decode(chunks.join(data)) for run_id, data in pieces.items()}


def _make_tasks(run_id: str, plan: Plan) -> list[TaskRow]:
    return [TaskRow(run_id, task.index, task.operator, TaskState.PENDING) for task in plan.tasks]


def _load_tasks(connection: Connection, ids: list[str]) -> dict[str, list[TaskRow]]:
    loaded: dict[str, list[TaskRow]] = defaultdict(list)
    for row in connection.execute(_TASKS, {"ids": ids}):
        task = TaskRow(*row)
        task.reason = task.reason or ""
        task.progress = json_value(row.progress)
        task.metrics = json_value(row.metrics)
        loaded[task.run_id].append(task)
    return loaded


def _load_outputs(
    connection: Connection, ids: list[str]
) -> dict[str, dict[int, list[ArtifactRef]]]:
    loaded: dict[str, dict[int, list[ArtifactRef]]] = defaultdict(lambda: defaultdict(list))
    for run_id, index, ref in connection.execute(_OUTPUTS, {"ids": ids}):
        loaded[run_id][index].append(_ref_decoder.decode(ref))
    return {run_id: dict(ports) for run_id, ports in loaded.items()}


def load_engines(connection: Connection) -> list[StoredEngine]:
    """Load the operator engines that were not deregistered."""
    columns = tables.operator_engines.c
    return [
        StoredEngine(engine_id, incarnation, registration.encode(), bool(is_alive))
        for engine_id, incarnation, registration, is_alive in connection.execute(
            sa.select(
                columns.engine_id, columns.incarnation, columns.registration, columns.is_alive
            )
            .where(columns.deregistered_at.is_(None))
            .order_by(columns.engine_id)
        )
    ]
