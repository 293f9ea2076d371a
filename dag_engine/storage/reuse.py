"""Former results that stand in for equal work: looking them up, and holding on to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.core.changes import Former
from dag_engine.core.states import RunState
from dag_engine.core.work_keys import find_fitted_on
from dag_engine.storage import bulk, tables
from dag_engine.storage.by_index import find_newest
from dag_engine.storage.database import Database
from dag_engine.storage.expiry import has_expired, lock_kept
from dag_engine.storage.loading import batches, json_value
from executors.base import ArtifactRef
from executors.runtime.errors import InvalidInputError
from executors.runtime.fetching import check_artifact

_entries, _findings, _needs = tables.cache_entries, tables.cache_findings, tables.run_needs
_runs, _tasks, _artifacts = tables.runs, tables.tasks, tables.artifacts
_DEADLINE_S = 2.0
_WORK_S = 60.0
_RECENT_RUNS = 100
_ref_decoder = msgspec.json.Decoder(ArtifactRef)

Key = tuple[str, str]
"""A namespace, and a key of work in it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a task's look for a former result found, and the task that had made it."""

    verdict: str
    source_run: str
    source_index: int
    source_attempt: int
    detail: str


def find_entries(database: Database, keys: Iterable[Key]) -> dict[Key, Former]:
    """Find what stands under these keys; whether the artifacts still exist is not looked at."""
    by_namespace: dict[str, set[str]] = defaultdict(set)
    for namespace, key in keys:
        by_namespace[namespace].add(key)

    def work(connection: Connection) -> dict[Key, Former]:
        found: dict[Key, Former] = {}
        for namespace, wanted in by_namespace.items():
            for some in batches(sorted(wanted)):
                for key, former in _find_some(connection, namespace, some):
                    found[namespace, key] = former
        return found

    return database.read(work, deadline_s=_DEADLINE_S)


def _find_some(
    connection: Connection, namespace: str, keys: list[str]
) -> Iterable[tuple[str, Former]]:
    query = (
        sa.select(
            _entries.c.cache_key,
            _entries.c.run_id,
            _entries.c.idx,
            _entries.c.attempt,
            _tasks.c.operator,
            _tasks.c.metrics,
            _artifacts.c.ref,
        )
        .join(
            _tasks,
            sa.and_(
                _tasks.c.run_id == _entries.c.run_id,
                _tasks.c.idx == _entries.c.idx,
                _tasks.c.attempt == _entries.c.attempt,
                _tasks.c.state == "succeeded",
            ),
        )
        .outerjoin(
            _artifacts,
            sa.and_(_artifacts.c.run_id == _entries.c.run_id, _artifacts.c.idx == _entries.c.idx),
        )
        .where(_entries.c.namespace == namespace, _entries.c.cache_key.in_(keys))
        .order_by(_entries.c.cache_key, _artifacts.c.port)
    )
    rows: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(query):
        rows[row.cache_key].append(row)
    for key, ports in rows.items():
        first = ports[0]
        yield (
            key,
            Former(
                run_id=first.run_id,
                index=first.idx,
                operator=first.operator,
                attempt=first.attempt,
                outputs=[_ref_decoder.decode(row.ref) for row in ports if row.ref is not None],
                metrics=json_value(first.metrics) or {},
            ),
        )


def find_fault(former: Former, store_url: str) -> str:
    """Look at what a former task left; tell what is not as it was stored, empty where all is.

    With a model belongs the table that it was fitted on: whoever takes the model may read that.
    """
    refs = list(former.outputs)
    try:
        while refs:
            ref = refs.pop()
            check_artifact(ref, store_url)
            if (table := find_fitted_on(ref)) is not None:
                refs.append(table)
    except (InvalidInputError, OSError) as error:
        return str(error) or type(error).__name__
    return ""


def hold_sources(
    database: Database, namespace: str, needs: Collection[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Note that runs stand on the results of others, which from then on do not expire.

    `needs` are pairs of a run and the run whose results it is to use. Left out of the answer are
    those whose results have expired, or are gone.
    """

    def work(connection: Connection) -> set[tuple[str, str]]:
        kept = lock_kept(connection, namespace, {source for _, source in needs})
        held = {(run_id, source) for run_id, source in needs if source in kept}
        known = {
            (row.run_id, row.source_run)
            for ids in batches(sorted({run_id for run_id, _ in held}))
            for row in connection.execute(
                sa.select(_needs.c.run_id, _needs.c.source_run).where(_needs.c.run_id.in_(ids))
            )
        }
        rows = [(run_id, source, namespace) for run_id, source in sorted(held - known)]
        bulk.insert_rows(connection, _needs, ["run_id", "source_run", "namespace"], rows)
        return held

    return database.run_txn(work, deadline_s=_DEADLINE_S) if needs else set()


def load_known_keys(database: Database, limit: int) -> list[str] | None:
    """Return all keys that something stands under; None where there are more than `limit`."""
    query = sa.select(_entries.c.cache_key).limit(limit + 1)
    keys = database.read(lambda c: list(c.scalars(query)), work_s=_WORK_S)
    return keys if len(keys) <= limit else None


def get_finding(database: Database, namespace: str, run_id: str, index: int) -> Finding | None:
    """Return what a task's look for a former result found; None where that was nothing."""
    query = sa.select(_findings).where(
        _findings.c.run_id == run_id, _findings.c.idx == index, _findings.c.namespace == namespace
    )
    row = database.read(lambda c: c.execute(query).first())
    if row is None:
        return None
    return Finding(
        row.verdict, row.source_run, row.source_idx, row.source_attempt, row.detail or ""
    )


@dataclass(frozen=True, slots=True)
class FormerTask:
    """A task of a former run that ended well."""

    run_id: str
    index: int
    attempt: int


def find_former_tasks(
    database: Database,
    namespace: str,
    operator: str,
    *,
    before: str,
    dag_id: str,
    limit: int = 5,
) -> list[FormerTask]:
    """Find what an operator did in the runs before one, newest first: of the same dag, else of any
    whose operator has the same name.
    """

    def work(connection: Connection) -> list[FormerTask]:
        for run_ids in (_find_runs_of, _find_any_runs):
            some = run_ids(connection, namespace, before, dag_id)
            query = sa.select(_tasks.c.run_id, _tasks.c.idx, _tasks.c.attempt).where(
                _tasks.c.run_id.in_(some),
                _tasks.c.namespace == namespace,
                _tasks.c.operator == operator,
                _tasks.c.state == "succeeded",
            )
            if found := [FormerTask(*row) for row in connection.execute(query)]:
                return sorted(found, key=lambda task: task.run_id, reverse=True)[:limit]
        return []

    return database.read(work)


def _find_runs_of(connection: Connection, namespace: str, before: str, dag_id: str) -> list[str]:
    """Find the newest runs of a dag, state by state: each is in order in the index."""
    of_dag = _select_runs(namespace, before).where(_runs.c.dag_id == dag_id).limit(_RECENT_RUNS)
    each = [of_dag.where(_runs.c.state == str(state)) for state in RunState]
    return find_newest(connection, each, _RECENT_RUNS)


def _find_any_runs(connection: Connection, namespace: str, before: str, dag_id: str) -> list[str]:
    del dag_id
    return list(connection.scalars(_select_runs(namespace, before).limit(_RECENT_RUNS)))


def _select_runs(namespace: str, before: str) -> sa.Select[tuple[str]]:
    return (
        sa.select(_runs.c.run_id)
        .where(
            _runs.c.namespace == namespace,
            _runs.c.is_internal == 0,
            _runs.c.run_id < before,
            ~has_expired(_runs.c.run_id, "results"),
        )
        .order_by(_runs.c.run_id.desc())
    )


def load_outputs(
    database: Database, namespace: str, run_id: str, indexes: Collection[int]
) -> dict[int, list[ArtifactRef]]:
    """Load what tasks of a run left, by their index and in the order of their ports."""
    query = (
        sa.select(_artifacts.c.idx, _artifacts.c.ref)
        .where(
            _artifacts.c.run_id == run_id,
            _artifacts.c.idx.in_(sorted(indexes)),
            _artifacts.c.namespace == namespace,
        )
        .order_by(_artifacts.c.idx, _artifacts.c.port)
    )
    found: dict[int, list[ArtifactRef]] = defaultdict(list)
    for row in database.read(lambda c: c.execute(query).all()):
        found[row.idx].append(_ref_decoder.decode(row.ref))
    return found
