"""Inserts rows of text and numbers quickly, within the transaction of the caller.

The statements are compiled once: SQLAlchemy prepares its own anew for every execution, which takes
longer than the insert of a row.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.storage import statements
from dag_engine.storage.batch_rows import Row
from dag_engine.storage.moments import to_text
from dag_engine.storage.statements import Statement


@functools.cache
def _compiled(dialect: str, table: sa.Table, columns: tuple[str, ...]) -> Statement:
    return statements.compile_insert(dialect, table, list(columns))


def insert_row(connection: Connection, table: sa.Table, values: Mapping[str, Any]) -> None:
    """Insert a row, given by column; a row that is there already raises `IntegrityError`."""
    row = [to_text(value) if isinstance(value, dt.datetime) else value for value in values.values()]
    insert_rows(connection, table, list(values), [tuple(row)])


def insert_rows(
    connection: Connection, table: sa.Table, columns: list[str], rows: list[Row]
) -> None:
    """Insert rows whose values stand in the order of the columns; moments already as text."""
    if not rows:
        return
    dialect = "sqlite" if connection.dialect.name == "sqlite" else "mysql"
    statement = _compiled(dialect, table, tuple(columns))
    if dialect == "sqlite":
        connection.exec_driver_sql(statement.sql, rows if len(rows) > 1 else rows[0])
        return
    from dag_engine.storage.mysql_text import render

    for text in render(statement, rows):
        # Without parameters the driver leaves percent signs of the data alone.
        connection.exec_driver_sql(text, execution_options={"no_parameters": True})
