"""A fresh database for each measurement, removed afterwards."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql

DEFAULT_MYSQL_URL = "mysql+pymysql://root@127.0.0.1:3306"


@dataclass(frozen=True, slots=True)
class FreshDatabase:
    """What `serve` is to use (an empty url: its own SQLite file) and what it is."""

    kind: str
    url: str
    version: str


class DatabaseMissingError(Exception):
    """There is no server to measure with."""


def find_server_url() -> str:
    """Tell the server that the tests use too."""
    return os.environ.get("DAGENGINE_TEST_MYSQL_URL") or DEFAULT_MYSQL_URL


@contextmanager
def make_database(kind: str, server_url: str) -> Iterator[FreshDatabase]:
    """Make an empty database of a kind, `sqlite` or `mysql`.

    Raises `DatabaseMissingError` where no server answers.
    """
    if kind == "sqlite":
        yield FreshDatabase(kind, "", f"SQLite {sqlite3.sqlite_version}")
        return
    name = f"dagengine_bench_{secrets.token_hex(4)}"
    version = _execute(server_url, f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    parts = urlsplit(server_url)
    try:
        yield FreshDatabase(kind, f"mysql+pymysql://{parts.netloc}/{name}", version)
    finally:
        _execute(server_url, f"DROP DATABASE `{name}`")


def _execute(server_url: str, statement: str) -> str:
    """Carry out a statement on the server, and tell its version."""
    parts = urlsplit(server_url)
    try:
        connection: Any = pymysql.connect(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 3306,
            user=unquote(parts.username or "root"),
            password=unquote(parts.password or ""),
            connect_timeout=5,
        )
    except pymysql.MySQLError as error:
        raise DatabaseMissingError(f"{parts.hostname}:{parts.port or 3306}: {error}") from error
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        version = str(cursor.fetchone()[0])
        cursor.execute(statement)
    return version
