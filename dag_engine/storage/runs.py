"""Runs as the api accepts and shows them. The scheduler alone changes them afterwards."""

from __future__ import annotations

import datetime as dt
import secrets
from collections import Counter
from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from dag_engine.core.plan import Plan
from dag_engine.core.states import FINAL_RUN_STATES, RunState
from dag_engine.storage import bulk, chunks, dags, idempotency, paging, tables
from dag_engine.storage.batch_rows import json_text
from dag_engine.storage.by_index import find_newest, read_by
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NotFoundError
from dag_engine.storage.expiry import check_provided
from dag_engine.storage.failures import is_duplicate
from dag_engine.storage.ids import N_RANDOM_BITS, new_run_id
from dag_engine.storage.loading import batches, json_value
from dag_engine.storage.moments import UTC
from dag_engine.storage.rows import (
    AcceptedRun,
    IdempotencyKey,
    NewDag,
    NewRun,
    OpenCounts,
    Page,
    RunMark,
    RunRecord,
)

_ACCEPT_LIMIT_S = 10.0
_MOST_SHARED = 200
"""A run of more tasks has a transaction of its own: it takes more than ten milliseconds."""
_FIRST_STATE = "pending"
_runs, _plans = tables.runs, tables.run_plans
# In the order in which `_run` takes them.
_RUN_COLUMNS = tables.columns(
    _runs,
    "run_id namespace dag_id dag_version name state reason_code reason priority range_mode options "
    "base_run is_internal created_by n_tasks counts last_seq created_at started_at ended_at",
)
_ONE = sa.select(*_RUN_COLUMNS).where(
    _runs.c.run_id == sa.bindparam("of"), _runs.c.namespace == sa.bindparam("in")
)
_TASK_COLUMNS = (
    "run_id", "idx", "namespace", "operator", "algorithm", "title", "executor", "queue",
    "fingerprint", "state",
)  # fmt: skip
_PART_COLUMNS = ("run_id", "part", "namespace", "data")
_NEED_COLUMNS = ("run_id", "source_run", "namespace")


# --- accepting ------------------------------------------------------------------------------------


def accept_run(
    database: Database,
    new: NewRun,
    *,
    definition: NewDag | None = None,
    idempotency_key: IdempotencyKey | None = None,
) -> AcceptedRun:
    """Store a run with its plan and `pending` tasks in one transaction.

    When it returns, the run survives whatever happens. With an idempotency key the same request
    gives the run that its first coming made. A definition that is posted with the run is stored
    with it, and is what it runs, whatever `new` says.

    Raises
    ------
    IdempotencyConflictError
        If the key came before with another request.
    ResultsExpiredError
        If results that the plan stands on were deleted meanwhile.
    """
    now = dt.datetime.now(UTC)
    run_id = new_run_id(now, secrets.randbits(N_RANDOM_BITS))
    # Long work is done before the transaction, which holds locks.
    pieces = chunks.cut(msgspec.json.encode(new.plan))
    row = _new_row(new, run_id, now)
    tasks = _task_rows(new, run_id)
    needs = sorted({(run_id, reused.run_id, new.namespace) for reused in new.plan.reused})
    store = dags.prepare_post(database, definition) if definition is not None else None

    def insert(inserts: bulk.Inserts) -> AcceptedRun:
        if store is not None:
            dag = store(inserts).dag
            row.update(dag_id=dag.id, dag_version=dag.current.version)
        if not _insert_run(inserts, row):
            return AcceptedRun(_get(inserts.connection, new.namespace, run_id), is_new=True)
        _insert_parts(inserts, new.namespace, run_id, pieces)
        inserts.add(tables.tasks, list(_TASK_COLUMNS), tasks)
        inserts.add(tables.run_needs, list(_NEED_COLUMNS), needs)
        inserts.flush()
        return AcceptedRun(_run([row[column.name] for column in _RUN_COLUMNS]), is_new=True)

    def work(connection: Connection) -> AcceptedRun:
        if idempotency_key is not None:
            subject = idempotency.claim(connection, new.namespace, idempotency_key, run_id)
            if subject != run_id:
                return AcceptedRun(_get(connection, new.namespace, subject), is_new=False)
        check_provided(connection, new.namespace, new.plan)
        try:
            return insert(bulk.Inserts(connection, gathers=True))
        except IntegrityError as error:
            # Somebody posts the same definition just now, or this is our own former try.
            if not is_duplicate(error):
                raise
        return insert(bulk.Inserts(connection))

    if len(tasks) > _MOST_SHARED:
        work_s = dags.STORE_LIMIT_S if store else _ACCEPT_LIMIT_S
        return database.run_txn(work, work_s=work_s)
    return database.run_shared_txn(work, work_s=_ACCEPT_LIMIT_S)


def _new_row(new: NewRun, run_id: str, now: dt.datetime) -> dict[str, Any]:
    """Make the row as it is stored, of which `_run` makes the record too."""
    n_tasks = len(new.plan.tasks)
    return {
        "run_id": run_id,
        "namespace": new.namespace,
        "dag_id": new.dag_id,
        "dag_version": new.dag_version,
        "name": new.name,
        "state": _FIRST_STATE,
        "reason_code": "",
        "reason": "",
        "priority": new.priority,
        "range_mode": new.range_mode,
        "options": json_text(new.options),
        "base_run": new.base_run,
        "is_internal": int(new.is_internal),
        "created_by": new.created_by,
        "n_tasks": n_tasks,
        "counts": json_text({_FIRST_STATE: n_tasks} if n_tasks else {}),
        "last_seq": 0,
        "created_at": now,
        "started_at": None,
        "ended_at": None,
    }


def _insert_run(inserts: bulk.Inserts, row: dict[str, Any]) -> bool:
    try:
        inserts.add_row(_runs, row)
    except IntegrityError as error:
        # The id is ours alone, so this is our own former try, whose commit broke off and went
        # through after all.
        if not is_duplicate(error):
            raise
        return False
    return True


def _insert_parts(inserts: bulk.Inserts, namespace: str, run_id: str, pieces: list[bytes]) -> None:
    rows = [(run_id, part, namespace, data) for part, data in enumerate(pieces)]
    inserts.add(_plans, list(_PART_COLUMNS), rows)


def _task_rows(new: NewRun, run_id: str) -> list[tuple[Any, ...]]:
    return [
        (
            run_id,
            task.index,
            new.namespace,
            task.operator,
            task.algorithm,
            task.title,
            task.executor,
            task.queue,
            task.fingerprint,
            _FIRST_STATE,
        )
        for task in new.plan.tasks
    ]


# --- reading --------------------------------------------------------------------------------------


def get_run(database: Database, namespace: str, run_id: str) -> RunRecord:
    """Return a run, or raise `NotFoundError`."""
    return database.read(lambda connection: _get(connection, namespace, run_id))


def list_runs(
    database: Database,
    namespace: str,
    *,
    states: Collection[str] = (),
    dag_id: str | None = None,
    is_internal: bool = False,
    limit: int = paging.LIMIT,
    cursor: str | None = None,
) -> Page[RunRecord]:
    """List runs, newest first, of these states (none named = all) and of this dag.

    However many runs there are, a page reads as many rows as it shows, in each state at most.
    """
    limit = paging.bounded(limit)
    query = sa.select(*_RUN_COLUMNS).where(
        _runs.c.namespace == namespace, _runs.c.is_internal == int(is_internal)
    )
    wanted, index = sorted(set(states)), "ix_runs_state" if states else "ix_runs_listing"
    if dag_id is not None:
        query = query.where(_runs.c.dag_id == dag_id)
        wanted, index = wanted or sorted(RunState), "ix_runs_dag_state"
    before = paging.id_cursor(cursor)
    if before is not None:
        query = query.where(_runs.c.run_id < before)
    query = query.order_by(_runs.c.run_id.desc()).limit(limit + 1)
    query = read_by(query, _runs, index)

    def work(connection: Connection) -> list[RunRecord]:
        if len(wanted) > 1:
            return _newest_of(connection, query, wanted, limit + 1)
        asked = query.where(_runs.c.state == wanted[0]) if wanted else query
        return [_run(row) for row in connection.execute(asked)]

    return paging.make_page(database.read(work), limit, lambda run: run.id)


def _newest_of(
    connection: Connection, query: sa.Select[Any], states: list[str], limit: int
) -> list[RunRecord]:
    """Find in the index the newest runs of each state, and read the rows of the newest of all."""
    ids = query.with_only_columns(_runs.c.run_id)
    found: list[RunRecord] = []
    while lacking := limit - len(found):
        each = [ids.where(_runs.c.state == state) for state in states]
        newest = find_newest(connection, each, lacking)
        for some in batches(newest):
            rows = sa.select(*_RUN_COLUMNS).where(
                _runs.c.run_id.in_(some), _runs.c.state.in_(states)
            )
            found += [_run(row) for row in connection.execute(rows)]
        if len(newest) < lacking:
            break
        # Older ones stand in for those that have gone, or gone on to other states, meanwhile.
        ids = ids.where(_runs.c.run_id < newest[-1])
    return sorted(found, key=lambda run: run.id, reverse=True)


def read_mark(database: Database, namespace: str, run_id: str) -> RunMark:
    """Tell how far a run is, or raise `NotFoundError`."""
    query = sa.select(_runs.c.last_seq, _runs.c.state).where(
        _runs.c.run_id == run_id, _runs.c.namespace == namespace
    )
    row = database.read(lambda c: c.execute(query).first())
    if row is None:
        raise NotFoundError("run", run_id)
    return RunMark(row.last_seq, row.state)


def load_plan(database: Database, namespace: str, run_id: str) -> Plan:
    """Return the plan that was pinned when the run was accepted, or raise `NotFoundError`."""
    query = (
        sa.select(_plans.c.data)
        .where(_plans.c.run_id == run_id, _plans.c.namespace == namespace)
        .order_by(_plans.c.part)
    )
    pieces = database.read(lambda c: list(c.scalars(query)), work_s=_ACCEPT_LIMIT_S)
    if not pieces:
        raise NotFoundError("run", run_id)
    return msgspec.json.decode(chunks.join(pieces), type=Plan)


def count_open(database: Database) -> OpenCounts:
    """Count the runs that are not over, and their tasks, by state; over all namespaces."""
    query = sa.select(_runs.c.state, _runs.c.counts).where(_runs.c.ended_at.is_(None))

    def work(connection: Connection) -> OpenCounts:
        runs: Counter[str] = Counter()
        tasks: Counter[str] = Counter()
        for state, counts in connection.execute(query):
            runs[state] += 1
            tasks.update(json_value(counts) or {})
        return OpenCounts(dict(runs), dict(tasks))

    return database.read(work)


def count_open_of(database: Database, namespace: str) -> int:
    """Count the runs of a namespace that are not over, internal ones left out."""
    query = sa.select(sa.func.count()).where(
        _runs.c.namespace == namespace,
        _runs.c.is_internal == 0,
        _runs.c.state.in_([state.value for state in RunState if state not in FINAL_RUN_STATES]),
    )
    return int(database.read(lambda connection: connection.execute(query).scalar_one()))


def count_runs(database: Database) -> dict[str, int]:
    """Count all runs by state, from the index alone; over all namespaces."""
    query = sa.select(_runs.c.state, sa.func.count()).group_by(_runs.c.state)
    rows = database.read(lambda c: c.execute(query).all(), work_s=10.0)
    return {state: number for state, number in rows}


def _get(connection: Connection, namespace: str, run_id: str) -> RunRecord:
    row = connection.execute(_ONE, {"of": run_id, "in": namespace}).first()
    if row is None:
        raise NotFoundError("run", run_id)
    return _run(row)


def _run(row: Any) -> RunRecord:
    # Taken apart at once: to ask a row for its columns by name takes longer than the query.
    (
        run_id, namespace, dag_id, dag_version, name, state, reason_code, reason, priority,
        range_mode, options, base_run, is_internal, created_by, n_tasks, counts, last_seq,
        created_at, started_at, ended_at,
    ) = row  # fmt: skip
    return RunRecord(
        id=run_id,
        namespace=namespace,
        dag_id=dag_id,
        dag_version=dag_version,
        name=name,
        state=state,
        reason_code=reason_code,
        reason=reason or "",
        priority=priority,
        range_mode=range_mode,
        options=json_value(options) or {},
        base_run=base_run,
        is_internal=bool(is_internal),
        created_by=created_by,
        n_tasks=n_tasks,
        tasks={state: n for state, n in (json_value(counts) or {}).items() if n},
        last_seq=last_seq,
        created_at=created_at,
        started_at=started_at,
        ended_at=ended_at,
    )
