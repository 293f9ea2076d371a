"""Makes a database anew from a backup, of whichever kind of database that was.

On SQLite the new content is made in a file beside the old one and takes its place in one
transaction: a restore that is broken off leaves the old content. Where SQLite can make nothing of
the old file, the new one takes its name, and the old one is kept under another. A server's tables
are emptied and filled; until that is done the schema's revision says so, and every service refuses
to start.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import functools
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.storage import bulk, migrate, schema, tables
from dag_engine.storage import leader as leaders
from dag_engine.storage.afterlife import Afterlife, begin_anew
from dag_engine.storage.backup_file import Backup, BackupReader, verify
from dag_engine.storage.database import Database
from dag_engine.storage.errors import (
    RESTORING,
    BackupUnusableError,
    DatabaseInUseError,
    DatabaseSettingsError,
    DatabaseUnavailableError,
)
from dag_engine.storage.failures import describe, is_damaged, is_retryable
from dag_engine.storage.moments import UTC
from executors.disks import sync_folder

_PATIENCE_S = 3600
_LOCK_WAIT_S = 30.0
_SCRATCH_VERSIONS = "restore_version"
_LOCKS_FROM, _N_LOCKS = 0x40000000, 512
"""Where SQLite's own locks lie: a process that has a file open in WAL mode holds one of them."""
_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it: the copy that was used, what was made of its unfinished runs, and where the
    old file is kept if that was damaged.
    """

    backup: Backup
    afterlife: Afterlife
    damaged: Path | None = None


@dataclass(frozen=True, slots=True)
class _Former:
    """What is replaced: its epoch (0: not known), and whether SQLite can make nothing of it."""

    epoch: int = 0
    is_damaged: bool = False


def restore(database: Database, source: Path) -> Restored:
    """Replace the content of the database by that of a backup; all services must be stopped.

    An older backup is upgraded. The copy is read and checked to its end first. A damaged SQLite
    file is kept beside the new one.

    Raises
    ------
    BackupUnusableError
        If the file is no backup, damaged, or of a newer version.
    DatabaseInUseError
        If something works with the database.
    DatabaseSettingsError
        If the file cannot be replaced, or a table does not take its rows.
    """
    backup = verify(source)
    _check_revision(source, backup)
    patient = Database(database.url, replace(database.config, read_timeout_s=_PATIENCE_S))
    database.drop_connections()  # our own idle connections are no users
    try:
        former = _check_unused(patient)
        fill = _replace_file if patient.path is not None else _refill_server
        return fill(patient, source, backup, former)
    except Exception as error:
        if is_retryable(error):
            raise DatabaseUnavailableError(describe(error)) from error
        if isinstance(error, OSError):
            raise DatabaseSettingsError(
                f"The database file cannot be replaced: {error}.",
                "See to the rights in its folder and the room on its disk, then repeat.",
            ) from error
        raise
    finally:
        patient.close()


def _check_revision(source: Path, backup: Backup) -> None:
    known = migrate.list_revisions()
    if backup.head.schema not in known:
        raise BackupUnusableError(
            str(source),
            f"it has schema {backup.head.schema} of version {backup.head.program}, this version "
            f"knows those up to {known[-1]}; use a program that is at least as new",
        )


# --- who uses it ----------------------------------------------------------------------------------


def _check_unused(database: Database) -> _Former:
    if database.path is None:
        return _check_server_unused(database)
    if not database.path.exists():
        return _Former()
    try:
        epoch = _check_leader(database)
        database.drop_connections()
        _check_file_unused(database.path)
    except (sa.exc.DBAPIError, sqlite3.DatabaseError) as error:
        if not is_damaged(error):
            raise
        database.drop_connections()
        _check_damaged_unused(database.path)
        return _Former(is_damaged=True)
    return _Former(epoch)


def _check_server_unused(database: Database) -> _Former:
    migrate.make_database(database)
    epoch = _check_leader(database)
    users = database.read(_find_connections)
    database.drop_connections()
    if users:
        raise DatabaseInUseError(", ".join(users))
    return _Former(epoch)


def _check_leader(database: Database) -> int:
    """Make sure that nobody leads; tells the last epoch, 0 where nobody ever did."""
    try:
        record = leaders.get_leader(database)
    except sa.exc.DBAPIError as error:
        if not schema.is_missing_table(error):
            raise
        return 0
    if record is None:
        return 0
    if record.is_leading:
        raise DatabaseInUseError(f"the scheduler {record.holder} leads")
    return record.epoch


def _check_file_unused(path: Path) -> None:
    """Leave WAL mode, which SQLite does only for the one process that has the file open."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            mode = connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
        except sqlite3.OperationalError as error:
            mode = str(error)
    if mode != "delete":
        raise DatabaseInUseError(f"another process has {path} open")


def _check_damaged_unused(path: Path) -> None:
    """Ask the kernel, where SQLite does not look at its locks before it gives the file up."""
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _N_LOCKS, _LOCKS_FROM)
        except BlockingIOError as error:
            raise DatabaseInUseError(f"another process has {path} open") from error


def _find_connections(connection: Connection) -> list[str]:
    query = (
        "SELECT id, user, host FROM information_schema.processlist "
        "WHERE db = DATABASE() AND id <> CONNECTION_ID() ORDER BY id"
    )
    rows = connection.exec_driver_sql(query)
    return [f"connection {number} of {user} from {host}" for number, user, host in rows]


# --- SQLite ---------------------------------------------------------------------------------------


def _replace_file(database: Database, source: Path, backup: Backup, former: _Former) -> Restored:
    assert database.path is not None
    path = database.path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(path.name + ".restoring")
    _remove_file(staging)
    staged = Database(f"sqlite:///{staging}", database.config)
    damaged = None
    try:
        if backup.head.schema == schema.SCHEMA_REVISION:
            schema.create_fresh_sqlite(staged)
        else:
            with staged.engine.connect() as connection:
                migrate.run_migrations(connection, backup.head.schema)
        with staged.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.exec_driver_sql("PRAGMA synchronous=OFF")  # the file is synced as a whole
            _load(connection, source, backup)
        migrate.upgrade_database(staged)
        afterlife = begin_anew(staged, backup.head.made_at, former_epoch=former.epoch)
        staged.close()
        with _locked(database):
            if former.is_damaged:
                damaged = _swap(path, staging)
            else:
                _copy_over(database, staging)
    finally:
        staged.close()
        _remove_file(staging)
    return Restored(backup, afterlife, damaged)


@contextlib.contextmanager
def _locked(database: Database) -> Iterator[None]:
    assert database.write_lock is not None
    if not database.write_lock.acquire(_LOCK_WAIT_S):
        raise DatabaseInUseError("another process holds the write lock")
    try:
        yield
    finally:
        database.write_lock.release()


def _copy_over(database: Database, staging: Path) -> None:
    with (
        closing(sqlite3.connect(staging)) as copy,
        closing(database.connector.connect(timeout_s=_LOCK_WAIT_S)) as target,
    ):
        copy.backup(target)


def _swap(path: Path, staging: Path) -> Path:
    """Put the new file in the place of one that takes no content; tells where that one is kept.

    There is always one of the two: with none, the next start would make an empty database.
    """
    _check_file_unused(staging)  # so that all is in the one file
    _settle(staging, path.stat())
    kept = path.with_name(f"{path.name}.damaged-{dt.datetime.now(UTC):%Y%m%dT%H%M%S}")
    os.link(path, kept)
    for ending in _BESIDE:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(kept.with_name(kept.name + ending))
    staging.rename(path)
    sync_folder(path.parent)
    return kept


def _settle(staging: Path, former: os.stat_result) -> None:
    """Sync the new file, and give it the owner and the rights of the old one."""
    with staging.open("r+b") as file:
        os.fchown(file.fileno(), former.st_uid, former.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(former.st_mode))
        os.fsync(file.fileno())


def _remove_file(path: Path) -> None:
    for ending in ("", ".lock", *_BESIDE):
        path.with_name(path.name + ending).unlink(missing_ok=True)


# --- MySQL and MariaDB ----------------------------------------------------------------------------


def _refill_server(database: Database, source: Path, backup: Backup, former: _Former) -> Restored:
    with migrate.upgrade_lock(database), database.engine.connect() as connection:
        _mark(connection)
        connection.exec_driver_sql("SET SESSION foreign_key_checks=0, unique_checks=0")
        names = [*tables.metadata.tables, _SCRATCH_VERSIONS]
        for name in names:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS `{name}`")
        migrate.run_migrations(connection, backup.head.schema, _SCRATCH_VERSIONS)
        _load(connection, source, backup)
        migrate.run_migrations(connection, "head", _SCRATCH_VERSIONS)
        afterlife = begin_anew(database, backup.head.made_at, former_epoch=former.epoch)
        connection.exec_driver_sql(f"DROP TABLE `{_SCRATCH_VERSIONS}`")
        # From here on it is whole.
        connection.exec_driver_sql(
            "UPDATE alembic_version SET version_num=%s", (schema.SCHEMA_REVISION,)
        )
        # The pool gives this connection to nobody else with its checks off.
        connection.invalidate()
    return Restored(backup, afterlife)


def _mark(connection: Connection) -> None:
    """Let nobody start before the tables are whole."""
    connection.exec_driver_sql(
        "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    )
    connection.exec_driver_sql("START TRANSACTION")
    connection.exec_driver_sql("DELETE FROM alembic_version")
    connection.exec_driver_sql("INSERT INTO alembic_version VALUES (%s)", (RESTORING,))
    connection.exec_driver_sql("COMMIT")


# --- filling --------------------------------------------------------------------------------------


@functools.cache
def _table(name: str, columns: tuple[str, ...]) -> sa.Table:
    """Describe a table of the copy: once, since a statement is kept for each description."""
    return sa.Table(name, sa.MetaData(), *[sa.Column(column) for column in columns])


def _load(connection: Connection, source: Path, backup: Backup) -> None:
    reader = BackupReader(source)
    for frame in reader.read_rows():
        table = _table(frame.table, tuple(frame.columns))
        with _transaction(connection, frame.table):
            bulk.insert_rows(connection, table, frame.columns, [tuple(row) for row in frame.rows])
    if reader.backup is None or reader.backup.digest != backup.digest:
        raise BackupUnusableError(str(source), "it was changed while it was read")
    for name, n_rows in backup.n_rows.items():
        found = connection.exec_driver_sql(f"SELECT COUNT(*) FROM {name}").scalar()  # noqa: S608 - the reader knows no names but our own
        if found != n_rows:
            raise DatabaseSettingsError(
                f"The table {name} has {found} rows and should have {n_rows}.",
                "Look at the server's log, then repeat the restore.",
            )


@contextlib.contextmanager
def _transaction(connection: Connection, table: str) -> Iterator[None]:
    connection.exec_driver_sql("BEGIN")
    try:
        yield
        connection.exec_driver_sql("COMMIT")
    except sa.exc.DBAPIError as error:
        if is_retryable(error):
            raise
        raise DatabaseSettingsError(
            f"The table {table} does not take its rows: {describe(error)}.",
            "The database is not whole now; restore again, or restore another copy.",
        ) from error
