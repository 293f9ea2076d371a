"""Inserts rows of text and numbers quickly, within the transaction of the caller.

The statements are compiled once: SQLAlchemy prepares its own anew for every execution, which takes
longer than the insert of a row.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping
from typing import Any

import pymysql
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from dag_engine.storage import mysql_text, statements
from dag_engine.storage.batch_rows import Row
from dag_engine.storage.moments import to_text
from dag_engine.storage.statements import Statement


@functools.cache
def _compiled(dialect: str, table: sa.Table, columns: tuple[str, ...]) -> Statement:
    return statements.compile_insert(dialect, table, list(columns))


class Inserts:
    """Rows for one table after the other, within the transaction of the caller.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    gathers : bool
        Whether nothing is sent before `flush`, and then all of it in as few messages as it takes:
        a server is far away, and each message is a way there and back. A row that is there already
        raises then. SQLite is not far away, and gets each of them at once.
    """

    def __init__(self, connection: Connection, *, gathers: bool = False) -> None:
        self.connection = connection
        self._is_server = connection.dialect.name != "sqlite"
        self._gathers = gathers
        self._gathered: list[str] = []

    def add_row(self, table: sa.Table, values: Mapping[str, Any]) -> None:
        """Insert a row, given by column; one that is there already raises `IntegrityError`."""
        row = [
            to_text(value) if isinstance(value, dt.datetime) else value for value in values.values()
        ]
        self.add(table, list(values), [tuple(row)])

    def add(self, table: sa.Table, columns: list[str], rows: list[Row]) -> None:
        """Insert rows whose values stand in the order of the columns; moments already as text."""
        if not rows:
            return
        if not self._is_server:
            sql = _compiled("sqlite", table, tuple(columns)).sql
            self.connection.exec_driver_sql(sql, rows if len(rows) > 1 else rows[0])
            return
        texts = mysql_text.render(_compiled("mysql", table, tuple(columns)), rows)
        if self._gathers:
            self._gathered += texts
            return
        for text in texts:
            # Without parameters the driver leaves percent signs of the data alone.
            self.connection.exec_driver_sql(text, execution_options={"no_parameters": True})

    def flush(self) -> None:
        """Send what was gathered; a row that is there already raises `IntegrityError`."""
        if not self._gathered:
            return
        gathered, self._gathered = self._gathered, []
        raw: Any = self.connection.connection.dbapi_connection
        try:
            with raw.cursor() as cursor:
                for message in mysql_text.gather(iter(gathered)):
                    cursor.execute(message)
                    while cursor.nextset():  # the errors of all but the first statement come here
                        pass
        except pymysql.err.IntegrityError as error:
            raise IntegrityError(None, None, error) from error


def insert_rows(
    connection: Connection, table: sa.Table, columns: list[str], rows: list[Row]
) -> None:
    """Insert rows into one table; see `Inserts.add`."""
    Inserts(connection).add(table, columns, rows)
