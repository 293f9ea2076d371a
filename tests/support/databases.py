"""Fresh databases for tests: SQLite files, and databases on a real MariaDB or MySQL server."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa

from dag_engine.config import DatabaseConfig
from dag_engine.storage import migrate, tables
from dag_engine.storage.database import Database

DEFAULT_SERVER = "mysql+pymysql://root@127.0.0.1:3306/"
DIALECTS = ("sqlite", pytest.param("mysql", marks=pytest.mark.mysql))
"""Parameters of a fixture that is to run on both kinds of database."""


def server_url() -> sa.URL:
    return sa.make_url(os.environ.get("DAGENGINE_TEST_MYSQL_URL", DEFAULT_SERVER))


def connect_server() -> Any:
    """Connect to the server; without one the test is skipped, and fails where CI is set."""
    url = server_url()
    try:
        return pymysql.connect(
            host=url.host or "127.0.0.1",
            port=url.port or 3306,
            user=url.username or "root",
            password=url.password or "",
            connect_timeout=5,
            autocommit=True,
        )
    except pymysql.err.MySQLError as error:
        message = f"no MariaDB or MySQL server at {url.host}:{url.port}: {error}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(f"{message}; set DAGENGINE_TEST_MYSQL_URL")


@contextlib.contextmanager
def fresh_mysql_url() -> Iterator[str]:
    """Make an empty database on the server and drop it afterwards."""
    name = f"dagengine_test_{os.getpid()}_{secrets.token_hex(4)}"
    server = connect_server()
    try:
        server.query(f"CREATE DATABASE {name} CHARACTER SET latin1")
        url = server_url().set(database=name)
        yield url.render_as_string(hide_password=False)
    finally:
        server.query(f"DROP DATABASE IF EXISTS {name}")
        server.close()


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'dagengine.db'}"


def open_migrated(url: str, **settings: Any) -> Database:
    """Open a database with all tables."""
    database = Database(url, DatabaseConfig(url=url, **settings))
    migrate.upgrade_database(database)
    return database


def empty_tables(database: Database) -> None:
    """Delete all rows, so that the next test finds the tables as if just made."""

    def work(connection: sa.Connection) -> None:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(table.delete())

    database.run_txn(work, deadline_s=30.0)


def expire_lease(database: Database) -> None:
    """Let the leader's lease have run out a moment ago."""
    database.run_txn(
        lambda connection: connection.exec_driver_sql(
            "UPDATE leader SET lease_until = '2020-01-01 00:00:00.000000'"
        )
    )


def lost_answer(database: Database) -> Exception:
    """Make what the driver raises where a commit's answer does not come."""
    if database.dialect == "sqlite":
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        return error
    return pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")
