"""Tasks, attempts and outputs as the api shows them, and former results that may stand in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.core.plan import Reused
from dag_engine.storage import paging, tables
from dag_engine.storage.by_index import read_by
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NotFoundError
from dag_engine.storage.expiry import has_expired
from dag_engine.storage.loading import batches, json_value
from dag_engine.storage.rows import AttemptRecord, OutputRecord, Page, TaskRecord
from executors.base import ArtifactRef

_tasks, _attempts, _artifacts = tables.tasks, tables.attempts, tables.artifacts
# In the order in which `_task` takes them.
_TASK_COLUMNS = tables.columns(
    _tasks,
    "run_id idx operator algorithm title executor queue fingerprint state reason_code reason "
    "attempt engine_id n_failures n_losses not_before started_at ended_at progress metrics",
)
_OUTPUT_COLUMNS = tables.columns(_artifacts, "idx port attempt ref")
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
    query = sa.select(*_TASK_COLUMNS).where(
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
        outputs = _outputs(connection, namespace, run_id, [row[1] for row in rows])
        return [_task(row, outputs[row[1]]) for row in rows]

    return paging.make_page(database.read(work), limit, lambda task: task.index)


def get_task(database: Database, namespace: str, run_id: str, operator: str) -> TaskRecord:
    """Return the task of an operator with its outputs, or raise `NotFoundError`."""
    query = sa.select(*_TASK_COLUMNS).where(
        _tasks.c.run_id == run_id,
        _tasks.c.operator == operator,
        _tasks.c.namespace == namespace,
    )

    def work(connection: Connection) -> TaskRecord:
        row = connection.execute(query).first()
        if row is None:
            raise NotFoundError("task", f"{run_id} {operator}")
        return _task(row, _outputs(connection, namespace, run_id, [row.idx])[row.idx])

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
        sa.select(*_OUTPUT_COLUMNS)
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
    fingerprints: Collection[str],
    *,
    runs: Sequence[str] = (),
) -> dict[str, Reused]:
    """Find succeeded tasks with these fingerprints: those of `runs`, of the first of them first,
    else the newest.

    Whether the artifacts still exist is for the caller to check.
    """
    wanted = sorted({fingerprint for fingerprint in fingerprints if fingerprint})

    def work(connection: Connection) -> dict[str, Reused]:
        found: dict[str, Reused] = {}
        for some in batches(wanted):
            sources = _choose_runs(connection, namespace, some, runs)
            found.update(_load_reused(connection, namespace, sources))
        return found

    return database.read(work, work_s=_REUSE_LIMIT_S)


def _choose_runs(
    connection: Connection, namespace: str, fingerprints: list[str], runs: Sequence[str]
) -> dict[str, str]:
    chosen: dict[str, str] = {}
    lacking = fingerprints
    for run_id in runs:
        if not lacking:
            return chosen
        chosen |= dict.fromkeys(_done_in(connection, namespace, lacking, run_id), run_id)
        lacking = [fingerprint for fingerprint in lacking if fingerprint not in chosen]
    return chosen | _newest_runs(connection, namespace, lacking) if lacking else chosen


def _newest_runs(connection: Connection, namespace: str, fingerprints: list[str]) -> dict[str, str]:
    """Look for each from the newest task on: a task done daily has a fingerprint in all runs."""
    rows = [(fingerprint,) for fingerprint in fingerprints]
    found = connection.execute(_select_newest(len(rows)), _values(rows, namespace))
    return {fingerprint: run_id for fingerprint, run_id in found if run_id is not None}


@lru_cache
def _select_newest(n_rows: int) -> sa.Select[Any]:
    wanted = _wanted(n_rows, 1)
    newest = (
        sa.select(_tasks.c.run_id)
        .where(
            _tasks.c.fingerprint == wanted.c[0],
            _tasks.c.namespace == sa.bindparam("namespace"),
            _tasks.c.state == "succeeded",
            ~has_expired(_tasks.c.run_id, "results"),
        )
        .order_by(_tasks.c.run_id.desc())
        .limit(1)
    )
    return sa.select(wanted.c[0], read_by(newest, _tasks, "ix_tasks_fingerprint").scalar_subquery())


def _done_in(
    connection: Connection, namespace: str, fingerprints: list[str], run_id: str
) -> list[str]:
    query = sa.select(_tasks.c.fingerprint).where(
        _tasks.c.fingerprint.in_(fingerprints),
        _tasks.c.namespace == namespace,
        _tasks.c.run_id == run_id,
        _tasks.c.state == "succeeded",
        ~has_expired(_tasks.c.run_id, "results"),
    )
    return list(connection.scalars(read_by(query, _tasks, "ix_tasks_fingerprint")))


def _wanted(n_rows: int, n_columns: int) -> sa.Subquery:
    """Make a table of values that are bound later, for a join with what is looked for."""
    lines = [
        sa.select(
            *[
                sa.bindparam(f"v{row}_{i}", type_=sa.String()).label(f"v{i}")
                for i in range(n_columns)
            ]
        )
        for row in range(n_rows)
    ]
    return sa.union_all(*lines).subquery("wanted")


def _values(rows: Iterable[tuple[str, ...]], namespace: str) -> dict[str, str]:
    values = {f"v{n}_{i}": value for n, row in enumerate(rows) for i, value in enumerate(row)}
    return values | {"namespace": namespace}


@lru_cache
def _select_exactly(n_rows: int) -> sa.Select[Any]:
    columns, wanted = _tasks.c, _wanted(n_rows, 2)
    query = (
        sa.select(
            columns.fingerprint, columns.run_id, columns.idx, columns.operator, columns.attempt
        )
        .join_from(
            wanted,
            _tasks,
            (columns.fingerprint == wanted.c[0])
            & (columns.namespace == sa.bindparam("namespace"))
            & (columns.run_id == wanted.c[1]),
        )
        .where(columns.state == "succeeded")
    )
    return read_by(query, _tasks, "ix_tasks_fingerprint")


def _load_reused(
    connection: Connection, namespace: str, sources: dict[str, str]
) -> dict[str, Reused]:
    if not sources:
        return {}
    rows = connection.execute(
        _select_exactly(len(sources)), _values(sources.items(), namespace)
    ).all()
    # Twins within one run: the last word has the one with the lowest index.
    chosen = {row.fingerprint: row for row in sorted(rows, key=lambda row: -row.idx)}
    by_run: dict[str, list[int]] = defaultdict(list)
    for row in chosen.values():
        by_run[row.run_id].append(row.idx)
    outputs = {
        run_id: _outputs(connection, namespace, run_id, indexes)
        for run_id, indexes in by_run.items()
    }
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
    connection: Connection, namespace: str, run_id: str, indexes: list[int]
) -> dict[int, list[OutputRecord]]:
    found: dict[int, list[OutputRecord]] = defaultdict(list)
    query = sa.select(*_OUTPUT_COLUMNS).where(
        _artifacts.c.run_id == run_id, _artifacts.c.namespace == namespace
    )
    query = query.order_by(_artifacts.c.idx, _artifacts.c.port)
    if indexes and max(indexes) - min(indexes) + 1 == len(indexes):
        # the tasks of a page lie side by side
        queries = [query.where(_artifacts.c.idx.between(min(indexes), max(indexes)))]
    else:
        queries = [query.where(_artifacts.c.idx.in_(some)) for some in batches(indexes)]
    for each in queries:
        for row in connection.execute(each):
            found[row[0]].append(_output(row))
    return found


def _output(row: Any) -> OutputRecord:
    _, port, attempt, ref = row
    return OutputRecord(port, attempt, _ref_decoder.decode(ref))


def _task(row: Any, outputs: list[OutputRecord]) -> TaskRecord:
    # Taken apart at once: to ask a row for its columns by name takes longer than the query.
    (
        run_id, index, operator, algorithm, title, executor, queue, fingerprint, state, reason_code,
        reason, attempt, engine_id, n_failures, n_losses, not_before, started_at, ended_at,
        progress, metrics,
    ) = row  # fmt: skip
    return TaskRecord(
        run_id=run_id,
        index=index,
        operator=operator,
        algorithm=algorithm,
        title=title,
        executor=executor,
        queue=queue,
        fingerprint=fingerprint,
        state=state,
        reason_code=reason_code,
        reason=reason or "",
        attempt=attempt,
        engine_id=engine_id,
        n_failures=n_failures,
        n_losses=n_losses,
        not_before=not_before,
        started_at=started_at,
        ended_at=ended_at,
        progress=json_value(progress),
        metrics=json_value(metrics) or {},
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
