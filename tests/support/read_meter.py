"""Counts what a database reads, instead of how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.storage.database import Database

Statement = tuple[str, Any]


def note_selects(database: Database, work: Callable[[], object]) -> list[Statement]:
    """Do a piece of work, and return its SELECT statements with their values."""
    statements: list[Statement] = []

    def note(
        connection: Any, cursor: Any, statement: str, values: Any, context: Any, many: bool
    ) -> None:
        if statement.lstrip().startswith("SELECT"):
            statements.append((statement, values))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)
    return statements


def count_reads(database: Database, work: Callable[[], object]) -> int:
    """Count what the SELECT statements of a piece of work cost.

    On SQLite these are steps of its virtual machine, on MariaDB and MySQL rows that were read.
    """
    statements = note_selects(database, work)
    count = _count_steps if database.dialect == "sqlite" else _count_rows
    with database.engine.connect() as connection:
        return sum(count(connection, statement) for statement in statements)


def _count_steps(connection: Connection, statement: Statement) -> int:
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    raw: Any = connection.connection.dbapi_connection
    raw.set_progress_handler(step, 1)
    try:
        connection.exec_driver_sql(*statement).all()
    finally:
        raw.set_progress_handler(None, 0)
    return count


def _count_rows(connection: Connection, statement: Statement) -> int:
    def look() -> int:
        found = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read%%'")
        return sum(int(value) for _, value in found)

    before = look()
    connection.exec_driver_sql(*statement).all()
    # looking reads the variables themselves: as many each time
    after = look()
    return after - before - (look() - after)
