"""Which schema the database has; cheap, without Alembic, for every start."""

from __future__ import annotations

import sqlite3
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from dag_engine.storage.database import Database
from dag_engine.storage.errors import SchemaOutdatedError
from dag_engine.storage.failures import driver_error

SCHEMA_REVISION = "0006"
"""The newest migration; a test holds it equal to the head of `sql/migrations`."""

_NO_SUCH_TABLE = 1146
_UNKNOWN_DATABASE = 1049
_EXISTING_TABLE = 1050


class SchemaState(NamedTuple):
    """What was found and what is needed; `found` is empty where there are no tables."""

    found: str
    needed: str

    @property
    def is_current(self) -> bool:
        """Whether this program can work with the database."""
        return self.found == self.needed


def sql_folder() -> Path:
    """Tell where migrations and schema files lie."""
    return Path(str(files("sql")))


def is_missing_table(error: BaseException) -> bool:
    """Whether a statement failed because its table does not exist."""
    error = driver_error(error)
    if isinstance(error, sqlite3.OperationalError):
        return "no such table" in str(error)
    return bool(error.args) and error.args[0] == _NO_SUCH_TABLE


def is_missing_database(error: BaseException) -> bool:
    """Whether the server has no database of that name."""
    error = driver_error(error)
    return bool(error.args) and error.args[0] == _UNKNOWN_DATABASE


def is_existing_table(error: BaseException) -> bool:
    """Whether a table that was to be made exists already (MySQL)."""
    error = driver_error(error)
    return bool(error.args) and error.args[0] == _EXISTING_TABLE


def _select_revision(connection: Connection) -> str:
    try:
        row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    except DBAPIError as error:
        if is_missing_table(error):
            return ""
        raise
    return str(row[0]) if row else ""


def read_state(database: Database) -> SchemaState:
    """Look up the schema's revision."""
    path = database.path
    if path is not None and not path.exists():
        return SchemaState("", SCHEMA_REVISION)
    return SchemaState(database.read(_select_revision), SCHEMA_REVISION)


def is_schema_current(database: Database) -> bool:
    """Whether the tables are those that this program needs."""
    return read_state(database).is_current


def require_schema(database: Database) -> None:
    """Raise `SchemaOutdatedError` unless the tables are those that this program needs."""
    state = read_state(database)
    if not state.is_current:
        raise SchemaOutdatedError(*state)


def create_fresh_sqlite(database: Database) -> None:
    """Make all tables of a new SQLite file from the generated schema, in one transaction.

    Quicker than running the migrations; a test holds the two equal.
    """
    script = (sql_folder() / "schema.sqlite.sql").read_text(encoding="utf-8")
    raw: sqlite3.Connection = database.connector.connect(timeout_s=30.0)
    try:
        raw.executescript(f"BEGIN IMMEDIATE;\n{script}\nCOMMIT;")
    finally:
        raw.close()
