"""Column types for both databases. Migrations use them too: never change one, add another."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

from dag_engine.storage import moments


class Moment(sa.types.TypeDecorator[dt.datetime]):
    """An aware UTC datetime; `DATETIME(6)` in MySQL, text of fixed width in SQLite."""

    impl = sa.String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the dialect."""
        if dialect.name == "mysql" or dialect.name == "mariadb":
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(sqlite.TEXT())

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> Any:
        """Convert to naive UTC text, which both databases take and compare rightly."""
        return moments.to_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        """Convert to an aware datetime."""
        return moments.from_database(value)


def word(length: int) -> sa.types.TypeEngine[str]:
    """Give text of at most `length` characters: ids, names, states. Compared binary in both."""
    return sa.String(length).with_variant(sqlite.TEXT(), "sqlite")


def text() -> sa.types.TypeEngine[str]:
    """Give text of up to 16 MiB: messages, JSON."""
    return mysql.MEDIUMTEXT().with_variant(sqlite.TEXT(), "sqlite")


def blob() -> sa.types.TypeEngine[bytes]:
    """Give bytes; callers keep a piece below 1 MiB so that it fits any `max_allowed_packet`."""
    return mysql.MEDIUMBLOB().with_variant(sqlite.BLOB(), "sqlite")


def integer() -> sa.types.TypeEngine[int]:
    """Give a 64-bit integer; INTEGER in SQLite, so that it can number rows there."""
    return sa.BigInteger().with_variant(sqlite.INTEGER(), "sqlite")


def flag() -> sa.types.TypeEngine[int]:
    """Give a column for 0 or 1."""
    return mysql.TINYINT().with_variant(sqlite.INTEGER(), "sqlite")
