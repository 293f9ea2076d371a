"""Care of the database: copies, and the deletion of what is old."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sqlite3
from collections.abc import Collection
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.storage import leader as leaders
from dag_engine.storage import tables
from dag_engine.storage.database import Database
from dag_engine.storage.errors import DatabaseSettingsError
from dag_engine.storage.ids import new_run_id
from dag_engine.storage.loading import batches
from dag_engine.storage.runs import load_plan

_RUNS_AT_ONCE = 20
_DELETE_LIMIT_S = 60.0
_CHILDREN = (
    tables.events,
    tables.artifacts,
    tables.attempts,
    tables.tasks,
    tables.commands,
    tables.run_plans,
)


# --- copies ---------------------------------------------------------------------------------------


def back_up(database: Database, target: Path) -> None:
    """Copy the SQLite database into a new file, whole and consistent, while it is in use."""
    _require_sqlite(database, "mariadb-dump --single-transaction (or mysqldump)")
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    source = database.connector.connect(timeout_s=30.0)
    copy = sqlite3.connect(partial)
    try:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
    finally:
        copy.close()
        source.close()
    _put_in_place(partial, target)


def restore(database: Database, source: Path) -> None:
    """Replace the content of the SQLite database by a copy; the services must be stopped."""
    _require_sqlite(database, "the client program of the server")
    _check_copy(source)
    with contextlib.suppress(sa.exc.DBAPIError):  # there may be no tables yet
        record = leaders.get_leader(database)
        if record is not None and record.is_leading:
            raise DatabaseSettingsError(
                f"A scheduler works with this database ({record.holder}).",
                "Stop all services, wait for its lease to end, and repeat.",
            )
    copy = sqlite3.connect(source)
    target = database.connector.connect(timeout_s=30.0)
    try:
        copy.backup(target)
    finally:
        target.close()
        copy.close()


def _require_sqlite(database: Database, program: str) -> None:
    if database.path is None:
        raise DatabaseSettingsError(
            "This database lies on a server, which makes and takes copies by itself.",
            f"Use {program}.",
        )


def _check_copy(source: Path) -> None:
    problem = "" if source.is_file() else "it does not exist"
    if not problem:
        connection = sqlite3.connect(source)
        try:
            found = connection.execute("PRAGMA integrity_check").fetchone()[0]
            problem = "" if found == "ok" else str(found)
            connection.execute("SELECT version_num FROM alembic_version")
        except sqlite3.Error as error:
            problem = str(error)
        finally:
            connection.close()
    if problem:
        raise DatabaseSettingsError(
            f"The copy {source} cannot be used: {problem}.", "Name a file that `db backup` made."
        )


def _put_in_place(partial: Path, target: Path) -> None:
    _sync(partial)
    partial.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- deletion -------------------------------------------------------------------------------------


def find_old_runs(
    database: Database, before: dt.datetime, *, skip: Collection[str] = (), limit: int = 1000
) -> list[str]:
    """List runs that were accepted and had ended before a moment, oldest first."""
    runs = tables.runs.c
    query = (
        sa.select(runs.run_id)
        .where(runs.run_id < new_run_id(before, 0), runs.ended_at < before)
        .order_by(runs.run_id)
        .limit(limit + len(skip))
    )
    found = database.read(lambda c: list(c.scalars(query)), work_s=_DELETE_LIMIT_S)
    return [run_id for run_id in found if run_id not in skip]


def find_providers(database: Database, kept_from: list[str]) -> set[str]:
    """Find the runs whose results are used by runs other than those named."""
    runs = tables.runs.c
    query = sa.select(runs.namespace, runs.run_id).where(runs.range_mode != "all")
    ranged = database.read(lambda c: list(c.execute(query)), work_s=_DELETE_LIMIT_S)
    named = set(kept_from)
    return {
        reused.run_id
        for namespace, run_id in ranged
        if run_id not in named
        for reused in load_plan(database, namespace, run_id).reused
    }


def delete_runs(database: Database, run_ids: list[str]) -> int:
    """Delete runs that are over, with all that belongs to them; returns how many there were.

    Their artifacts and logs in the store are the caller's business: `find_providers` tells whose
    artifacts must stay.
    """

    def delete(ids: list[str]) -> int:
        def work(connection: Connection) -> int:
            runs = tables.runs.c
            over = sa.select(runs.run_id).where(runs.run_id.in_(ids), runs.ended_at.is_not(None))
            chosen = list(connection.scalars(over))
            for table in _CHILDREN:
                connection.execute(table.delete().where(table.c.run_id.in_(chosen)))
            connection.execute(tables.runs.delete().where(runs.run_id.in_(chosen)))
            return len(chosen)

        return database.run_txn(work, work_s=_DELETE_LIMIT_S)

    return sum(delete(ids) for ids in batches(sorted(run_ids), _RUNS_AT_ONCE))


def prune_stale_reports(database: Database, before: dt.datetime) -> int:
    """Forget reports that changed nothing and came before a moment; returns how many."""
    reports = tables.stale_reports
    statement = reports.delete().where(reports.c.received_at < before)
    return database.run_txn(lambda c: c.execute(statement).rowcount, work_s=_DELETE_LIMIT_S)
