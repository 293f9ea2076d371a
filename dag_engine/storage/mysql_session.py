"""The scheduler's connection to MySQL or MariaDB: a whole batch travels in one message."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pymysql

from dag_engine.storage import seat
from dag_engine.storage.batch_rows import Row, Step
from dag_engine.storage.connections import MysqlConnector
from dag_engine.storage.mysql_text import gather, literal, render
from dag_engine.storage.seat import SeatRow
from dag_engine.storage.sessions import FenceError, Session

_BAD_NULL = 1048
_LOCK_WAIT_TIMEOUT = 1205
_READ_TIMEOUT_S = 15.0
_CONNECT_TIMEOUT_S = 2.0


class MysqlSession(Session):
    """Sends a transaction as one text of several statements: one round trip, one sync."""

    sql = seat.MYSQL

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connection_id = 0

    @property
    def connection_id(self) -> int:
        """The server's number of the connection."""
        return self._connection_id

    def _lock_name(self, holder: str) -> str:
        connector = self._database.connector
        assert isinstance(connector, MysqlConnector)  # chosen by the dialect
        digest = hashlib.sha256(f"{connector.database}\0{holder}".encode()).hexdigest()
        return f"dagengine.{digest[:40]}"

    def _open(self) -> Any:
        raw = self._database.connector.connect(
            timeout_s=_READ_TIMEOUT_S, connect_s=_CONNECT_TIMEOUT_S, is_multi=True
        )
        try:
            self._connection_id = raw.thread_id()
            self._mark_as_mine(raw)
        except BaseException:
            raw.close()
            raise
        return raw

    def _mark_as_mine(self, raw: Any) -> None:
        # A named lock lives and dies with its connection, so it tells for certain which
        # connection a holder has; a number alone may belong to a stranger by now.
        name = self._lock_name(self._holder)
        with raw.cursor() as cursor:
            cursor.execute("SELECT GET_LOCK(%s, 0)", (name,))
            if cursor.fetchone()[0] == 1:
                return
            # A former connection of ours broke off and the server has not noticed yet; it may
            # still hold the leader row.
            self._kill(cursor, name)
            cursor.execute("SELECT GET_LOCK(%s, 5)", (name,))

    @staticmethod
    def _kill(cursor: Any, name: str) -> bool:
        cursor.execute("SELECT IS_USED_LOCK(%s)", (name,))
        number = cursor.fetchone()[0]
        if number is None:
            return False
        try:
            cursor.execute("KILL %s", (int(number),))
        except pymysql.err.MySQLError as error:
            if error.args[0] != 1094:  # it ended by itself in between
                raise
        return True

    def execute(self, sql: str, values: Row = ()) -> int:
        """Run one writing statement as its own transaction; returns the number of rows."""
        with self.connect().cursor() as cursor:
            return int(cursor.execute(sql, values))

    def write(self, epoch: int, batch: int, lease_s: float, steps: list[Step]) -> None:
        """Run the steps in one fenced transaction."""
        raw = self.connect()
        try:
            with raw.cursor() as cursor:
                for message in gather(self._transaction((epoch, batch, batch + 1, lease_s), steps)):
                    cursor.execute(message)
                    while cursor.nextset():
                        pass
        except pymysql.err.MySQLError as error:
            self._roll_back(raw)
            if error.args and error.args[0] == _BAD_NULL and not self._stands(epoch, batch):
                raise FenceError from error
            raise
        except BaseException:
            self.drop()
            raise

    def _transaction(self, fence: Row, steps: list[Step]) -> Iterator[str]:
        yield "START TRANSACTION"
        yield self.sql.fence % tuple(literal(value) for value in fence)
        for name, rows in steps:
            yield from render(self._statements[name], rows)
        yield "COMMIT"

    def _roll_back(self, raw: Any) -> None:
        try:
            raw.query("ROLLBACK")
        except Exception:  # noqa: BLE001 - whatever went wrong, this connection is not used again
            self.drop()

    def _stands(self, epoch: int, batch: int) -> bool:
        return self.query(self.sql.progress) == [(epoch, batch)]

    def take_over(self, row: SeatRow, take: Callable[[], int]) -> int:
        """Run `take`; a leader that is stopped in a transaction loses its connection first."""
        with self.connect().cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout=1")
            try:
                return self._take_or_kill(cursor, row, take)
            finally:
                cursor.execute(
                    "SET innodb_lock_wait_timeout=%s",
                    (self._database.config.lock_wait_timeout_s,),
                )

    def _take_or_kill(self, cursor: Any, row: SeatRow, take: Callable[[], int]) -> int:
        try:
            return take()
        except pymysql.err.MySQLError as error:
            if error.args[0] != _LOCK_WAIT_TIMEOUT or not row.holder:
                raise
        self._kill(cursor, self._lock_name(row.holder))
        return take()
