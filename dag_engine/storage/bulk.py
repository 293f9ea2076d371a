"""Inserts many rows of text and numbers quickly, within the transaction of the caller."""

from __future__ import annotations

import functools

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.storage import statements
from dag_engine.storage.batch_rows import Row
from dag_engine.storage.statements import Statement


@functools.cache
def _compiled(dialect: str, table: sa.Table, columns: tuple[str, ...]) -> Statement:
    return statements.compile_insert(dialect, table, list(columns))


def insert_rows(
    connection: Connection, table: sa.Table, columns: list[str], rows: list[Row]
) -> None:
    """Insert rows whose values stand in the order of the columns; moments already as text."""
    if not rows:
        return
    dialect = "sqlite" if connection.dialect.name == "sqlite" else "mysql"
    statement = _compiled(dialect, table, tuple(columns))
    if dialect == "sqlite":
        connection.exec_driver_sql(statement.sql, rows)
        return
    from dag_engine.storage.mysql_text import render

    for text in render(statement, rows):
        # Without parameters the driver leaves percent signs of the data alone.
        connection.exec_driver_sql(text, execution_options={"no_parameters": True})
