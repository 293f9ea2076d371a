"""Makes the tables and brings them up to date."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from dag_engine.config import Config
from dag_engine.storage import schema
from dag_engine.storage.connections import MysqlConnector, SqliteConnector
from dag_engine.storage.database import Database, open_database
from dag_engine.storage.errors import (
    DatabaseSettingsError,
    DatabaseUnavailableError,
    SchemaOutdatedError,
)
from dag_engine.storage.failures import describe
from dag_engine.storage.schema import SchemaState

log = logging.getLogger(__name__)

_LOCK_WAIT_S = 60
_DIALECTS = ("sqlite", "mysql")


def upgrade(config: Config) -> SchemaState:
    """Make or upgrade the tables of the configured database; returns the state found before."""
    database = open_database(config)
    try:
        return upgrade_database(database)
    finally:
        database.close()


def check(config: Config) -> SchemaState:
    """Tell which schema the configured database has; changes nothing."""
    database = open_database(config)
    try:
        return check_database(database)
    finally:
        database.close()


def check_database(database: Database) -> SchemaState:
    """Tell which schema the database has; changes nothing."""
    try:
        return schema.read_state(database)
    except DBAPIError as error:
        if schema.is_missing_database(error):
            return SchemaState("", schema.SCHEMA_REVISION)
        raise DatabaseSettingsError(
            f"The database refuses to be read: {describe(error)}.",
            "Check user, password and rights in the database URL.",
        ) from error


def upgrade_database(database: Database) -> SchemaState:
    """Make or upgrade the tables; one process at a time, the others wait and find it done."""
    if database.path is not None:
        database.path.parent.mkdir(parents=True, exist_ok=True)
    state = check_database(database)
    if state.is_current:
        return state
    make_database(database)
    with upgrade_lock(database):
        # Another process may have done it while we waited.
        state = check_database(database)
        if not state.is_current:
            _refuse_newer(state)
            _run(database, state)
    log.info("schema_upgraded found=%s now=%s", state.found or "-", state.needed)
    return state


def _refuse_newer(state: SchemaState) -> None:
    if state.found > state.needed:
        raise SchemaOutdatedError(*state)


def _run(database: Database, state: SchemaState) -> None:
    if database.dialect == "sqlite" and not state.found:
        schema.create_fresh_sqlite(database)
        return
    with database.engine.connect() as connection:
        if database.dialect == "sqlite":
            _run_in_transaction(connection)
        else:
            _run_unguarded(connection)


def _run_unguarded(connection: Connection) -> None:
    try:
        run_migrations(connection)
    except DBAPIError as error:
        if schema.is_existing_table(error):
            raise DatabaseSettingsError(
                f"The tables are half made, as by an upgrade that was broken off: "
                f"{describe(error)}.",
                "Drop the database, or restore the backup from before the upgrade, and repeat.",
            ) from error
        raise


def _run_in_transaction(connection: Connection) -> None:
    # SQLite cannot change a table without making it anew, which needs the keys unchecked.
    connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        run_migrations(connection)
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    finally:
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")


def run_migrations(
    connection: Connection, revision: str = "head", version_table: str = "alembic_version"
) -> None:
    """Run all migrations that the database lacks, up to a revision; `version_table` notes it."""
    from alembic import command  # loaded only where there is something to migrate

    config = alembic_config(connection=connection, version_table=version_table)
    command.upgrade(config, revision)


def list_revisions() -> list[str]:
    """List the revisions that this program knows, oldest first."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(alembic_config())
    return [script.revision for script in scripts.walk_revisions()][::-1]


def alembic_config(**attributes: Any) -> Any:
    """Make Alembic's configuration; `attributes` reach `sql/migrations/env.py`."""
    from alembic.config import Config as AlembicConfig

    config = AlembicConfig()
    folder = str(schema.sql_folder() / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    config.attributes.update(attributes)
    return config


def make_database(database: Database) -> None:
    """Make the server's database where there is none yet."""
    connector = database.connector
    if not isinstance(connector, MysqlConnector):
        return
    try:
        connector.connect(timeout_s=5.0).close()
    except Exception as error:
        if not schema.is_missing_database(error):
            raise DatabaseUnavailableError(describe(error)) from error
        raw = connector.connect(timeout_s=5.0, has_database=False)
        try:
            name = connector.database.replace("`", "``")
            raw.query(f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4")
        except Exception as refusal:
            raise DatabaseSettingsError(
                f"The database {connector.database!r} does not exist and cannot be made: "
                f"{describe(refusal)}.",
                f"Run as administrator: CREATE DATABASE `{name}` CHARACTER SET utf8mb4;",
            ) from refusal
        finally:
            raw.close()


@contextlib.contextmanager
def upgrade_lock(database: Database) -> Iterator[None]:
    """Keep every other upgrade or restore out."""
    lock = database.write_lock
    if lock is None:
        with _server_lock(database.connector):
            yield
        return
    if not lock.acquire(_LOCK_WAIT_S):
        raise DatabaseUnavailableError("another process holds the write lock")
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _server_lock(connector: SqliteConnector | MysqlConnector) -> Iterator[None]:
    assert isinstance(connector, MysqlConnector)  # the other kind has a lock file
    digest = hashlib.sha256(connector.database.encode()).hexdigest()
    raw = connector.connect(timeout_s=_LOCK_WAIT_S + 5.0)
    try:
        with raw.cursor() as cursor:
            cursor.execute("SELECT GET_LOCK(%s, %s)", (f"dagengine.{digest[:40]}", _LOCK_WAIT_S))
            if cursor.fetchone()[0] != 1:
                raise DatabaseUnavailableError("another upgrade is under way")
        yield
    finally:
        raw.close()


def schema_text(dialect: str) -> str:
    """Write all migrations out as SQL for a dialect, with the note of the revision at the end."""
    from alembic import command

    buffer = io.StringIO()
    config = alembic_config(dialect=dialect, buffer=buffer)
    command.upgrade(config, "head", sql=True)
    head = (
        f"-- The full schema for {dialect}, made from sql/migrations by\n"
        "-- `python -m dag_engine.storage.migrate`.\n"
        "-- Do not edit: change the tables by a migration.\n\n"
    )
    return head + buffer.getvalue().strip() + "\n"


def write_schema_files(folder: Path | None = None) -> list[Path]:
    """Write `schema.<dialect>.sql` for every dialect; returns the files."""
    folder = folder or schema.sql_folder()
    written = []
    for dialect in _DIALECTS:
        path = folder / f"schema.{dialect}.sql"
        path.write_text(schema_text(dialect), encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    write_schema_files()
