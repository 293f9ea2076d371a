"""How records are shown to clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dag_engine.core.changes import Former
from dag_engine.core.plan import Plan, PlannedTask
from dag_engine.storage.rows import (
    AttemptRecord,
    DagRecord,
    DagVersionRecord,
    DatasetRecord,
    DatasetVersionRecord,
    EngineRecord,
    EventRecord,
    OutputRecord,
    RunRecord,
    TaskRecord,
)
from dag_engine.storage.vault import Listed
from executors.base import AlgorithmOffer, ArtifactRef, ExecutorOffer
from executors.masking import hide_settings, hide_url_passwords


def show_run(run: RunRecord) -> dict[str, Any]:
    """Show a run."""
    return {
        "id": run.id,
        "dag_id": run.dag_id,
        "dag_version": run.dag_version,
        "dag_name": run.name,
        "state": run.state,
        "reason": run.reason_code,
        "message": run.reason,
        "range": run.range_mode,
        "operators": run.options.get("operators", []),
        "base_run": run.base_run,
        "priority": run.priority,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "n_tasks": run.n_tasks,
        "tasks": run.tasks,
        "last_event": run.last_seq,
        "url": f"/runs/{run.id}",
    }


def show_task(task: TaskRecord, planned: PlannedTask, plan: Plan) -> dict[str, Any]:
    """Show a task with what its plan says."""
    return {
        "operator": task.operator,
        "index": task.index,
        "title": task.title,
        "algorithm": task.algorithm,
        "executor": task.executor,
        "state": task.state,
        "reason": task.reason_code,
        "message": task.reason,
        "attempt": task.attempt,
        "engine": task.engine_id,
        "queue": task.queue,
        "priority": planned.priority,
        "upstream": [plan.tasks[index].operator for index in planned.upstream],
        "not_before": task.not_before,
        "started_at": task.started_at,
        "ended_at": task.ended_at,
        "progress": task.progress,
        "metrics": task.metrics,
        "outputs": [show_output(output) for output in task.outputs],
        "seed": planned.seed,
    }


def show_output(output: OutputRecord) -> dict[str, Any]:
    """Show what an output port holds; where it lies is nobody's business."""
    return show_artifact(output.port, output.ref)


def show_artifact(port: int, ref: ArtifactRef) -> dict[str, Any]:
    """Show an artifact."""
    return {
        "port": port,
        "type": ref.type,
        "rows": ref.rows,
        "bytes": ref.size_bytes,
        "sha256": ref.sha256,
        "columns": [{"name": column.name, "type": column.type} for column in ref.columns],
    }


def show_attempt(attempt: AttemptRecord) -> dict[str, Any]:
    """Show one try at a task."""
    return {
        "attempt": attempt.attempt,
        "state": attempt.state,
        "reason": attempt.reason_code,
        "message": attempt.message,
        "hint": attempt.hint,
        "traceback": attempt.traceback,
        "engine": attempt.engine_id,
        "worker": attempt.worker,
        "queued_at": attempt.queued_at,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "exit_code": attempt.exit_code,
        "signal": attempt.signal,
        "log_bytes": attempt.log_bytes,
    }


def show_event(event: EventRecord) -> dict[str, Any]:
    """Show one entry of a run's history."""
    return {
        "seq": event.seq,
        "at": event.at,
        "kind": event.kind,
        "operator": event.operator,
        "attempt": event.attempt,
        "from": event.from_state,
        "to": event.to_state,
        "reason": event.reason_code,
        "message": event.reason,
    }


def show_plan(plan: Plan, hits: Mapping[int, Former]) -> dict[str, Any]:
    """Show what a run would do: the order, each task, what is reused, and what the cache has."""
    return {
        "order": [task.operator for task in plan.tasks],
        "tasks": [
            {
                "operator": task.operator,
                "title": task.title,
                "algorithm": task.algorithm,
                "executor": task.executor,
                "upstream": [plan.tasks[index].operator for index in task.upstream],
                "queue": task.queue,
                "priority": task.priority,
                "cache": task.cache,
                "is_alternative": task.is_alternative,
                "hit": _show_hit(hits.get(task.index)),
            }
            for task in plan.tasks
        ],
        "reused": [
            {
                "operator": reused.operator,
                "run_id": reused.run_id,
                "attempt": reused.attempt,
                "outputs": [show_artifact(port, ref) for port, ref in enumerate(reused.outputs)],
            }
            for reused in plan.reused
        ],
    }


def _show_hit(former: Former | None) -> dict[str, Any] | None:
    if former is None:
        return None
    return {"run_id": former.run_id, "operator": former.operator, "attempt": former.attempt}


def show_dag(dag: DagRecord) -> dict[str, Any]:
    """Show a definition with its present version."""
    version = dag.current
    return {
        "id": dag.id,
        "name": dag.name,
        "description": version.description,
        "version": version.version,
        "digest": version.digest,
        "n_versions": dag.n_versions,
        "n_operators": version.n_operators,
        "n_edges": version.n_edges,
        "created_at": dag.created_at,
        "updated_at": dag.updated_at,
    }


def show_dag_version(version: DagVersionRecord) -> dict[str, Any]:
    """Show one version of a definition."""
    return {
        "id": version.dag_id,
        "version": version.version,
        "name": version.name,
        "description": version.description,
        "digest": version.digest,
        "n_operators": version.n_operators,
        "n_edges": version.n_edges,
        "created_at": version.created_at,
    }


def show_dataset(dataset: DatasetRecord) -> dict[str, Any]:
    """Show a dataset with its latest version."""
    return {
        "id": dataset.id,
        "name": dataset.name,
        **show_dataset_version(dataset.latest),
        "created_at": dataset.created_at,
        "updated_at": dataset.updated_at,
    }


def show_dataset_version(version: DatasetVersionRecord) -> dict[str, Any]:
    """Show one version of a dataset."""
    return {
        "version": version.version,
        "uri": hide_url_passwords(version.uri) if version.is_in_place else "",
        "filename": version.filename,
        "format": version.format,
        "options": hide_settings(version.options),
        "bytes": version.size_bytes,
        "sha256": version.sha256,
        "is_in_place": version.is_in_place,
        "rows": version.row_count,
        "columns": version.schema or [],
        "inspection": version.inspection,
        "inspection_error": hide_url_passwords(version.inspection_error),
        "created_at": version.created_at,
    }


def show_sealed(item: Listed) -> dict[str, Any]:
    """Show a connection or secret: all but what it holds."""
    record = item.record
    return {
        "name": item.name,
        "source": item.source,
        "key_id": record.key_id if record else None,
        "created_by": record.created_by if record else "",
        "created_at": record.created_at if record else None,
        "updated_at": record.updated_at if record else None,
    }


def show_engine(engine: EngineRecord) -> dict[str, Any]:
    """Show an operator engine."""
    return {
        "id": engine.id,
        "url": engine.url,
        "host": engine.host,
        "version": engine.version,
        "is_alive": engine.is_alive,
        "labels": engine.labels,
        "slots": engine.slots,
        "executors": [show_executor(offer) for offer in engine.executors],
        "registered_at": engine.registered_at,
        "heartbeat_at": engine.heartbeat_at,
    }


def show_executor(offer: ExecutorOffer) -> dict[str, Any]:
    """Show an executor."""
    return {
        "name": offer.name,
        "kind": offer.kind,
        "data_types": offer.data_types,
        "slots": offer.slots,
    }


def show_algorithm_shortly(offer: AlgorithmOffer) -> dict[str, Any]:
    """Show what a list of algorithms needs."""
    return {
        "name": offer.name,
        "title": offer.title,
        "title_zh": offer.title_zh,
        "family": offer.family,
        "version": offer.version,
        "code_version": offer.code_version,
        "inputs": [_show_port(port) for port in offer.inputs],
        "outputs": [_show_port(port) for port in offer.outputs],
        "is_cacheable": offer.is_cacheable,
    }


def show_algorithm(offer: AlgorithmOffer) -> dict[str, Any]:
    """Show an algorithm with its parameters and documentation."""
    return {
        **show_algorithm_shortly(offer),
        "params_schema": offer.params_schema,
        "deprecated_params": offer.deprecated_params,
        "doc": offer.doc,
    }


def _show_port(port: Any) -> dict[str, Any]:
    return {
        "name": port.name,
        "type": port.type,
        "is_optional": port.is_optional,
        "is_many": port.is_many,
    }
