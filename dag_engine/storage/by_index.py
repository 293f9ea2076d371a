"""Tells the database by which index a list is read.

Which one a database takes by itself hangs on what it knows of the rows, and that is nothing, old,
or wrong for just this page: MariaDB passes by all that is newer than a cursor, SQLite walks through
all runs to find those of one DAG. At a million tasks that costs a hundred times the right way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import Connection


class HintedSqliteCompiler(SQLiteCompiler):
    """Writes hints behind the names of tables, as that for MySQL does."""

    def get_from_hint_text(self, table: Any, text: str | None) -> str | None:
        """Return the hint as it is to be written."""
        return text


def read_by(query: sa.Select[Any], table: sa.Table, index: str) -> sa.Select[Any]:
    """Have a query read a table by an index, which must begin with the columns it asks for."""
    query = query.with_hint(table, f"INDEXED BY {index}", "sqlite")
    return query.with_hint(table, f"FORCE INDEX ({index})", "mysql")


def read_by_key(query: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
    """Have a query read a table by its primary key; the table has row ids on SQLite."""
    query = query.with_hint(table, f"INDEXED BY sqlite_autoindex_{table.name}_1", "sqlite")
    return query.with_hint(table, "FORCE INDEX (PRIMARY)", "mysql")


def find_newest(connection: Connection, queries: Iterable[sa.Select[Any]], limit: int) -> list[str]:
    """Find the newest of all ids that these queries give, each of which is in order in its index
    and has a limit.
    """
    each = [sa.select(query.subquery()) for query in queries]
    return sorted(connection.scalars(sa.union_all(*each)), reverse=True)[:limit]
