"""What becomes of old runs: their results and logs expire, or they are deleted with all their rows.

Whatever is to be deleted is marked first. From the mark on nobody is handed a reference to it, and
a new run that would stand on it is refused; only then are the files removed, and what was broken
off is taken up again from the marks. A mark and the acceptance of a run that stands on the same
results wait for each other at the row of the run that has them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.core.plan import Plan
from dag_engine.storage import tables
from dag_engine.storage.database import Database
from dag_engine.storage.errors import ResultsExpiredError
from dag_engine.storage.ids import new_run_id
from dag_engine.storage.loading import batches
from dag_engine.storage.moments import UTC

Kind = Literal["results", "logs"]

_WORK_S = 60.0
_ROWS_AT_ONCE = 2_000
"""So many rows are deleted in one transaction, which holds up the scheduler's own."""
_CHILDREN = (
    (tables.cache_entries, "cache_key"),
    (tables.cache_findings, "idx"),
    (tables.run_needs, "source_run"),
    (tables.events, "seq"),
    (tables.artifacts, "idx"),
    (tables.attempts, "idx"),
    (tables.tasks, "idx"),
    (tables.run_plans, "part"),
    (tables.commands, "command_id"),
)
_runs, _expiries = tables.runs, tables.run_expiries


def is_expired(database: Database, namespace: str, run_id: str, kind: Kind) -> dt.datetime | None:
    """Tell when the results or logs of a run expired; None where they did not."""
    query = sa.select(_expiries.c.expired_at).where(
        _expiries.c.run_id == run_id,
        _expiries.c.kind == kind,
        _expiries.c.namespace == namespace,
    )
    return database.read(lambda connection: connection.scalar(query))


def has_expired(run_id: Any, kind: Kind) -> sa.Exists:
    """Give the condition that a run's results or logs have expired; `run_id` is a column."""
    return sa.exists().where(_expiries.c.run_id == run_id, _expiries.c.kind == kind)


def check_provided(connection: Connection, namespace: str, plan: Plan) -> None:
    """Make sure, inside the transaction that accepts a run, that what it stands on is there.

    The rows stay locked until the run is accepted: from then on it is found by `find_needed`.
    """
    wanted = {reused.run_id for reused in plan.reused}
    if lacking := wanted - lock_kept(connection, namespace, wanted):
        raise ResultsExpiredError(sorted(lacking)[0])


def lock_kept(connection: Connection, namespace: str, run_ids: Collection[str]) -> set[str]:
    """Find which of these runs have their results; while the transaction lasts none of them loses
    them.

    A run that goes on loses nothing, and its row is left to the scheduler, who must not wait for
    whoever is stopped in here.
    """
    kept: set[str] = set()
    for ids in batches(sorted(run_ids)):
        query = sa.select(_runs.c.run_id).where(
            _runs.c.run_id.in_(ids), _runs.c.namespace == namespace
        )
        there = set(connection.scalars(query.where(_runs.c.ended_at.is_(None))))
        over = sorted(set(ids) - there)
        if over:
            locking = query.where(_runs.c.run_id.in_(over)).with_for_update(read=True)
            there |= set(connection.scalars(locking))
        gone = connection.scalars(
            sa.select(_expiries.c.run_id).where(
                _expiries.c.run_id.in_(ids),
                _expiries.c.kind == "results",
                _expiries.c.namespace == namespace,
            )
        )
        kept |= there - set(gone)
    return kept


def find_needed(connection: Connection, of: Iterable[str]) -> set[str]:
    """Find which of these runs others stand on, by their range or by the cache.

    A run whose own results have expired needs nothing any more.
    """
    needs = tables.run_needs.c
    needed: set[str] = set()
    for ids in batches(sorted(of)):
        query = (
            sa.select(needs.source_run)
            .join(_runs, _runs.c.run_id == needs.run_id)
            .where(needs.source_run.in_(ids), ~has_expired(needs.run_id, "results"))
        )
        needed.update(connection.scalars(query.distinct()))
    return needed


def find_old_runs(
    database: Database,
    before: dt.datetime,
    *,
    without: Kind | None = None,
    after: str = "",
    limit: int = 200,
) -> list[str]:
    """List runs that were accepted and had ended before a moment, oldest first, `after` a run.

    `without` leaves out those whose results or logs have expired already.
    """
    query = (
        sa.select(_runs.c.run_id)
        .where(
            _runs.c.run_id < new_run_id(before, 0),
            _runs.c.run_id > after,
            _runs.c.ended_at < before,
        )
        .order_by(_runs.c.run_id)
        .limit(limit)
    )
    if without is not None:
        query = query.where(~has_expired(_runs.c.run_id, without))
    return database.read(lambda c: list(c.scalars(query)), work_s=_WORK_S)


def expire(database: Database, run_ids: Collection[str], kind: Kind) -> list[str]:
    """Mark runs as those whose results or logs are gone; returns which were, and are, marked.

    Left out are runs that are not over, and of those whose results are to go the ones that others
    stand on.
    """

    def work(connection: Connection) -> list[str]:
        over = connection.execute(
            sa.select(_runs.c.run_id, _runs.c.namespace)
            .where(_runs.c.run_id.in_(run_ids), _runs.c.ended_at.is_not(None))
            .order_by(_runs.c.run_id)
            .with_for_update()
        ).all()
        needed = find_needed(connection, run_ids) if kind == "results" else set()
        chosen = {row.run_id: row.namespace for row in over if row.run_id not in needed}
        marked = set(
            connection.scalars(
                sa.select(_expiries.c.run_id).where(
                    _expiries.c.run_id.in_(chosen), _expiries.c.kind == kind
                )
            )
        )
        now = dt.datetime.now(UTC)
        rows = [
            {"run_id": run_id, "kind": kind, "namespace": namespace, "expired_at": now}
            for run_id, namespace in chosen.items()
            if run_id not in marked
        ]
        if rows:
            connection.execute(_expiries.insert(), rows)
        if rows and kind == "results":
            entries = tables.cache_entries
            connection.execute(entries.delete().where(entries.c.run_id.in_(list(chosen))))
        return sorted(chosen)

    return database.run_txn(work, work_s=_WORK_S) if run_ids else []


def note_purged(database: Database, run_ids: Collection[str], kind: Kind) -> None:
    """Note that the files of what had expired are gone."""
    statement = (
        _expiries.update()
        .where(_expiries.c.run_id.in_(run_ids), _expiries.c.kind == kind)
        .values(purged_at=dt.datetime.now(UTC))
    )
    if run_ids:
        database.run_txn(lambda c: c.execute(statement), work_s=_WORK_S)


def find_unpurged(
    database: Database, *, begin: str = "", limit: int = 200
) -> list[tuple[str, str]]:
    """List what has expired and whose files may still be there, as run and kind, from a run on."""
    query = (
        sa.select(_expiries.c.run_id, _expiries.c.kind)
        .where(_expiries.c.purged_at.is_(None), _expiries.c.run_id >= begin)
        .order_by(_expiries.c.run_id)
        .limit(limit)
    )
    return database.read(lambda c: [(row.run_id, row.kind) for row in c.execute(query)])


def delete_runs(database: Database, run_ids: Collection[str]) -> int:
    """Delete those of some runs that are over and whose results have expired, with all their rows;
    returns how many there were.

    Small runs go together in one transaction. A large one is emptied before, in pieces; its own row
    goes last, so that whatever is broken off is found again.
    """
    n_rows = database.read(lambda connection: _count_rows(connection, run_ids))
    for run_id in n_rows:
        if n_rows[run_id] > _ROWS_AT_ONCE:
            for table, key in _CHILDREN:
                while _delete_some(database, table, key, run_id) == _ROWS_AT_ONCE:
                    pass
            n_rows[run_id] = 1
    for gone in _gather(n_rows):
        database.run_txn(partial(_delete_together, run_ids=gone), work_s=_WORK_S)
    return len(n_rows)


def _count_rows(connection: Connection, run_ids: Collection[str]) -> dict[str, int]:
    """Count the tasks and events of those runs that may go."""
    query = (
        sa.select(_runs.c.run_id, _runs.c.n_tasks, _runs.c.last_seq)
        .where(
            _runs.c.run_id.in_(run_ids),
            _runs.c.ended_at.is_not(None),
            has_expired(_runs.c.run_id, "results"),
        )
        .order_by(_runs.c.run_id)
    )
    return {row.run_id: row.n_tasks + row.last_seq for row in connection.execute(query)}


def _gather(n_rows: dict[str, int]) -> Iterator[list[str]]:
    """Share runs out in groups of not too many rows."""
    group: list[str] = []
    total = 0
    for run_id, n in n_rows.items():
        if group and total + n > _ROWS_AT_ONCE:
            yield group
            group, total = [], 0
        group.append(run_id)
        total += n
    if group:
        yield group


def _delete_together(connection: Connection, run_ids: list[str]) -> None:
    for table in (*(table for table, _ in _CHILDREN), _expiries, _runs):
        connection.execute(table.delete().where(table.c.run_id.in_(run_ids)))


def _delete_some(database: Database, table: sa.Table, key: str, run_id: str) -> int:
    column = table.c[key]

    def work(connection: Connection) -> int:
        keys = list(
            connection.scalars(
                sa.select(column)
                .where(table.c.run_id == run_id)
                .order_by(column)
                .limit(_ROWS_AT_ONCE)
            )
        )
        if keys:
            connection.execute(
                table.delete().where(
                    table.c.run_id == run_id, column >= keys[0], column <= keys[-1]
                )
            )
        return len(keys)

    return database.run_txn(work, work_s=_WORK_S)


def find_losers(
    database: Database, since: dt.datetime, until: dt.datetime, *, after: str = "", limit: int = 200
) -> list[tuple[str, int, int]]:
    """List attempts that ended without success, of runs that ended within a span of time, whose
    folders nobody refers to: as run, index and attempt, in order.

    They are all of so many runs `after` a run.
    """
    attempts, artifacts = tables.attempts.c, tables.artifacts.c
    kept = sa.exists().where(
        artifacts.run_id == attempts.run_id,
        artifacts.idx == attempts.idx,
        artifacts.attempt == attempts.attempt,
    )
    is_loser = attempts.state.in_(("failed", "cancelled")) & ~kept
    with_losers = (
        sa.select(_runs.c.run_id)
        .where(
            _runs.c.run_id > after,
            _runs.c.ended_at >= since,
            _runs.c.ended_at < until,
            sa.exists().where(attempts.run_id == _runs.c.run_id, is_loser),
        )
        .order_by(_runs.c.run_id)
        .limit(limit)
    )

    def work(connection: Connection) -> list[tuple[str, int, int]]:
        run_ids = list(connection.scalars(with_losers))
        if not run_ids:
            return []
        losers = sa.select(attempts.run_id, attempts.idx, attempts.attempt).where(
            attempts.run_id.in_(run_ids), is_loser
        )
        return sorted(tuple(row) for row in connection.execute(losers))

    return database.read(work, work_s=_WORK_S)


def prune_stale_reports(database: Database, before: dt.datetime) -> int:
    """Forget some of the reports that changed nothing and came before a moment, the oldest; returns
    how many. 0 says that none is left.

    There is no index of moments, but the number of a report rises with them.
    """
    reports = tables.stale_reports
    oldest = (
        sa.select(reports.c.report_id, reports.c.received_at)
        .order_by(reports.c.report_id)
        .limit(_ROWS_AT_ONCE)
    )

    def work(connection: Connection) -> int:
        old = [row.report_id for row in connection.execute(oldest) if row.received_at < before]
        if not old:
            return 0
        statement = reports.delete().where(
            reports.c.report_id <= old[-1], reports.c.received_at < before
        )
        return connection.execute(statement).rowcount

    return database.run_txn(work, work_s=_WORK_S)
