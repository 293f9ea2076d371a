"""Tasks, attempts and outputs as the api shows them, and former results that may stand in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.core.plan import Reused
from dag_engine.storage import paging, tables
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NotFoundError
from dag_engine.storage.loading import batches, json_value
from dag_engine.storage.rows import AttemptRecord, OutputRecord, Page, TaskRecord
from executors.base import ArtifactRef

_tasks, _attempts, _artifacts = tables.tasks, tables.attempts, tables.artifacts
_NEEDLESS = "not_needed"
_REUSE_LIMIT_S = 10.0
_ref_decoder = msgspec.json.Decoder(ArtifactRef)


def list_tasks(
    database: Database,
    namespace: str,
    run_id: str,
    *,
    states: Iterable[str] = (),
    limit: int = paging.LIMIT,
    cursor: str | None = None,
) -> Page[TaskRecord]:
    """List the tasks of a run with their outputs, in breadth-first order; of these states (none
    named = all).
    """
    limit = paging.bounded(limit)
    query = sa.select(_tasks).where(
        _tasks.c.run_id == run_id,
        _tasks.c.namespace == namespace,
        _tasks.c.idx > paging.number_cursor(cursor),
    )
    wanted = sorted(set(states))
    if wanted:
        query = query.where(_tasks.c.state.in_(wanted))
    query = query.order_by(_tasks.c.idx).limit(limit + 1)

    def work(connection: Connection) -> list[TaskRecord]:
        rows = connection.execute(query).all()
        outputs = _outputs(connection, run_id, [row.idx for row in rows])
        return [_task(row, outputs[row.idx]) for row in rows]

    return paging.make_page(database.read(work), limit, lambda task: task.index)


def get_task(database: Database, namespace: str, run_id: str, operator: str) -> TaskRecord:
    """Return the task of an operator with its outputs, or raise `NotFoundError`."""
    query = sa.select(_tasks).where(
        _tasks.c.run_id == run_id,
        _tasks.c.operator == operator,
        _tasks.c.namespace == namespace,
    )

    def work(connection: Connection) -> TaskRecord:
        row = connection.execute(query).first()
        if row is None:
            raise NotFoundError("task", f"{run_id} {operator}")
        return _task(row, _outputs(connection, run_id, [row.idx])[row.idx])

    return database.read(work)


def list_attempts(
    database: Database, namespace: str, run_id: str, index: int
) -> list[AttemptRecord]:
    """List all tries at a task, the first first."""
    query = (
        sa.select(_attempts)
        .where(
            _attempts.c.run_id == run_id,
            _attempts.c.idx == index,
            _attempts.c.namespace == namespace,
        )
        .order_by(_attempts.c.attempt)
    )
    return database.read(lambda c: [_attempt(row) for row in c.execute(query)])


def get_attempt(
    database: Database, namespace: str, run_id: str, index: int, attempt: int
) -> AttemptRecord:
    """Return one try at a task, or raise `NotFoundError`."""
    query = sa.select(_attempts).where(
        _attempts.c.run_id == run_id,
        _attempts.c.idx == index,
        _attempts.c.attempt == attempt,
        _attempts.c.namespace == namespace,
    )
    row = database.read(lambda c: c.execute(query).first())
    if row is None:
        raise NotFoundError("attempt", f"{run_id}.{index}.{attempt}")
    return _attempt(row)


def list_artifacts(
    database: Database, namespace: str, run_id: str, index: int
) -> list[OutputRecord]:
    """List what the output ports of a task hold."""
    query = (
        sa.select(_artifacts)
        .where(
            _artifacts.c.run_id == run_id,
            _artifacts.c.idx == index,
            _artifacts.c.namespace == namespace,
        )
        .order_by(_artifacts.c.port)
    )
    return database.read(lambda c: [_output(row) for row in c.execute(query)])


def list_unfinished_operators(database: Database, namespace: str, run_id: str) -> list[str]:
    """List the operators that a run did not finish: all that neither succeeded nor were found to
    be needless. What was skipped because the run stopped is still wanted.
    """
    is_needless = sa.and_(_tasks.c.state == "skipped", _tasks.c.reason_code == _NEEDLESS)
    query = (
        sa.select(_tasks.c.operator)
        .where(
            _tasks.c.run_id == run_id,
            _tasks.c.namespace == namespace,
            _tasks.c.state != "succeeded",
            sa.not_(is_needless),
        )
        .order_by(_tasks.c.idx)
    )
    return database.read(lambda c: list(c.scalars(query)))


# --- former results -------------------------------------------------------------------------------


def find_reusable(
    database: Database,
    namespace: str,
    fingerprints: Sequence[str],
    *,
    base_run: str | None = None,
) -> dict[str, Reused]:
    """Find succeeded tasks with these fingerprints: that of `base_run` first, else the newest.

    Whether the artifacts still exist is for the caller to check.
    """
    wanted = sorted({fingerprint for fingerprint in fingerprints if fingerprint})

    def work(connection: Connection) -> dict[str, Reused]:
        found: dict[str, Reused] = {}
        for some in batches(wanted):
            sources = _newest_runs(connection, namespace, some, None)
            if base_run is not None:
                sources.update(_newest_runs(connection, namespace, some, base_run))
            found.update(_load_reused(connection, namespace, sources))
        return found

    return database.read(work, work_s=_REUSE_LIMIT_S)


def _newest_runs(
    connection: Connection, namespace: str, fingerprints: list[str], run_id: str | None
) -> dict[str, str]:
    query = (
        sa.select(_tasks.c.fingerprint, sa.func.max(_tasks.c.run_id))
        .where(
            _tasks.c.fingerprint.in_(fingerprints),
            _tasks.c.namespace == namespace,
            _tasks.c.state == "succeeded",
        )
        .group_by(_tasks.c.fingerprint)
    )
    if run_id is not None:
        query = query.where(_tasks.c.run_id == run_id)
    return {fingerprint: run for fingerprint, run in connection.execute(query)}


def _load_reused(
    connection: Connection, namespace: str, sources: dict[str, str]
) -> dict[str, Reused]:
    if not sources:
        return {}
    columns = _tasks.c
    query = (
        sa.select(
            columns.fingerprint, columns.run_id, columns.idx, columns.operator, columns.attempt
        )
        .where(
            columns.fingerprint.in_(list(sources)),
            columns.namespace == namespace,
            columns.run_id.in_(set(sources.values())),
            columns.state == "succeeded",
        )
        .order_by(columns.idx.desc())
    )
    # Twins within one run: the last word has the one with the lowest index.
    chosen = {
        row.fingerprint: row
        for row in connection.execute(query)
        if sources[row.fingerprint] == row.run_id
    }
    by_run: dict[str, list[int]] = defaultdict(list)
    for row in chosen.values():
        by_run[row.run_id].append(row.idx)
    outputs = {run_id: _outputs(connection, run_id, indexes) for run_id, indexes in by_run.items()}
    return {
        fingerprint: Reused(
            operator=row.operator,
            run_id=row.run_id,
            attempt=row.attempt,
            outputs=[output.ref for output in outputs[row.run_id][row.idx]],
        )
        for fingerprint, row in chosen.items()
    }


# --- rows to records ------------------------------------------------------------------------------


def _outputs(
    connection: Connection, run_id: str, indexes: list[int]
) -> dict[int, list[OutputRecord]]:
    found: dict[int, list[OutputRecord]] = defaultdict(list)
    for some in batches(indexes):
        query = (
            sa.select(_artifacts)
            .where(_artifacts.c.run_id == run_id, _artifacts.c.idx.in_(some))
            .order_by(_artifacts.c.idx, _artifacts.c.port)
        )
        for row in connection.execute(query):
            found[row.idx].append(_output(row))
    return found


def _output(row: Any) -> OutputRecord:
    return OutputRecord(row.port, row.attempt, _ref_decoder.decode(row.ref))


def _task(row: Any, outputs: list[OutputRecord]) -> TaskRecord:
    return TaskRecord(
        run_id=row.run_id,
        index=row.idx,
        operator=row.operator,
        algorithm=row.algorithm,
        title=row.title,
        executor=row.executor,
        queue=row.queue,
        fingerprint=row.fingerprint,
        state=row.state,
        reason_code=row.reason_code,
        reason=row.reason or "",
        attempt=row.attempt,
        engine_id=row.engine_id,
        n_failures=row.n_failures,
        n_losses=row.n_losses,
        not_before=row.not_before,
        started_at=row.started_at,
        ended_at=row.ended_at,
        progress=json_value(row.progress),
        metrics=json_value(row.metrics) or {},
        outputs=outputs,
    )


def _attempt(row: Any) -> AttemptRecord:
    return AttemptRecord(
        run_id=row.run_id,
        index=row.idx,
        attempt=row.attempt,
        state=row.state,
        engine_id=row.engine_id,
        reason_code=row.reason_code,
        message=row.message or "",
        hint=row.hint or "",
        traceback=row.traceback or "",
        queued_at=row.queued_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        exit_code=row.exit_code,
        signal=row.exit_signal,
        worker=row.worker,
        log_bytes=row.log_bytes,
    )
