"""Copies all tables into one file that either kind of database can be made from."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dag_engine.storage import leader as leaders
from dag_engine.storage import schema, tables
from dag_engine.storage.backup_file import Backup, BackupWriter, Head
from dag_engine.storage.database import Database
from dag_engine.storage.errors import (
    RESTORING,
    DatabaseSettingsError,
    DatabaseUnavailableError,
    StorageError,
)
from dag_engine.storage.failures import describe, is_damaged, is_retryable

_CONNECT_S = 30.0
_SLOW_READER_S = 3600
"""How long a server waits for us to read on: the disk of the copy may be slow."""
_NOT_COPIED = frozenset({"components"})
"""Signs of life: a copy of them would only be wrong."""


def back_up(database: Database, target: Path, *, program: str) -> Backup:
    """Copy the database into a new file while it is in use.

    All rows are those of one moment, that of the call: both databases keep the old versions of
    rows for a reader's snapshot, and nobody waits for anybody. Rows are streamed; the file appears
    under its name once it is whole and synced.

    Raises
    ------
    DatabaseUnavailableError
        If the database cannot be reached.
    DatabaseSettingsError
        If there is nothing to copy, or nothing whole.
    """
    try:
        with closing(_open_snapshot(database)) as connection:
            return _copy(connection, database, target, program)
    except Exception as error:
        if is_retryable(error):
            raise DatabaseUnavailableError(describe(error)) from error
        if is_damaged(error):
            raise DatabaseSettingsError(
                f"The database file is damaged: {describe(error)}.",
                "Stop all services and restore the last copy: `dagengine db restore FILE`.",
            ) from error
        raise


def note_backup(database: Database, made: Backup) -> None:
    """Note when the last backup was made, for health and metrics; best effort."""
    detail = {"size_bytes": made.size_bytes, "digest": made.digest}
    with contextlib.suppress(StorageError, sa.exc.DBAPIError):  # an older schema, a full disk
        leaders.beat(database, "backup", "", detail=detail)


def _copy(connection: Any, database: Database, target: Path, program: str) -> Backup:
    head = Head(
        schema=_read_revision(connection),
        made_at=dt.datetime.now(dt.UTC),
        program=program,
        dialect=database.dialect,
    )
    with BackupWriter(target) as writer:
        writer.write_head(head)
        for table in tables.metadata.sorted_tables:
            if table.name in _NOT_COPIED:
                continue
            keys = ", ".join(column.name for column in table.primary_key)
            cursor = _select(connection, f"SELECT * FROM {table.name} ORDER BY {keys}")  # noqa: S608 - names of our own
            if cursor is not None:
                with closing(cursor):
                    columns = [str(field[0]) for field in cursor.description]
                    writer.write_table(str(table.name), columns, iter(cursor.fetchone, None))
        return writer.finish(head)


def _select(connection: Any, sql: str) -> Any:
    """Begin to read; None where an older schema has no such table."""
    if isinstance(connection, sqlite3.Connection):
        cursor: Any = connection.cursor()
    else:
        from pymysql.cursors import SSCursor  # rows stay at the server until they are asked for

        cursor = connection.cursor(SSCursor)
    try:
        cursor.execute(sql)
    except Exception as error:
        if schema.is_missing_table(error):
            return None
        raise
    return cursor


def _read_revision(connection: Any) -> str:
    cursor = _select(connection, "SELECT version_num FROM alembic_version")
    row = cursor.fetchall() if cursor is not None else []
    if not row:
        raise DatabaseSettingsError("The database has no tables.", "There is nothing to copy.")
    if row[0][0] == RESTORING:
        raise DatabaseSettingsError(
            "A restore into this database was broken off, so it is not whole.",
            "Repeat `dagengine db restore FILE` before a backup.",
        )
    return str(row[0][0])


def _open_snapshot(database: Database) -> Any:
    if database.path is not None and not database.path.exists():
        raise DatabaseSettingsError(
            f"There is no database {database.path}.", "Name its folder with --home."
        )
    connection = database.connector.connect(timeout_s=_CONNECT_S)
    try:
        if isinstance(connection, sqlite3.Connection):
            # The snapshot is that of the first read after this.
            connection.execute("BEGIN")
        else:
            _begin_on_server(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _begin_on_server(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION net_write_timeout={_SLOW_READER_S}")
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
