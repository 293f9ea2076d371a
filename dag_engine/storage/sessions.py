"""The scheduler's own connection: one for each kind of database, with the same face."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from dag_engine.storage import processes, seat
from dag_engine.storage.batch_rows import Row, Step
from dag_engine.storage.database import Database
from dag_engine.storage.seat import SeatRow, SeatSql
from dag_engine.storage.statements import Statement, compile_statements


class FenceError(Exception):
    """The leader row does not hold the epoch and batch number that the transaction expects."""


class WriteLockBusyError(TimeoutError):
    """Another process holds SQLite's write lock for too long."""


class Session(ABC):
    """A dedicated connection, opened on first use and after every failure."""

    sql: SeatSql

    def __init__(self, database: Database, holder: str) -> None:
        self._database = database
        self._holder = holder
        self._raw: Any = None
        self._statements: dict[str, Statement] = compile_statements(database.dialect)

    @property
    def connection_id(self) -> int:
        """The server's number of the connection; 0 where there is none."""
        return 0

    def connect(self) -> Any:
        """Return the connection; open it if need be."""
        if self._raw is None:
            self._database.check_process()
            self._raw = self._open()
        return self._raw

    def drop(self) -> None:
        """Throw the connection away, as after an error that leaves its state in doubt."""
        raw, self._raw = self._raw, None
        if raw is not None:
            with contextlib.suppress(Exception):
                raw.close()

    def query(self, sql: str, values: Row = ()) -> list[Row]:
        """Run one reading statement."""
        cursor = self.connect().cursor()
        cursor.execute(sql, values)
        rows = list(cursor.fetchall())
        cursor.close()
        return rows

    @abstractmethod
    def _open(self) -> Any: ...

    @abstractmethod
    def execute(self, sql: str, values: Row = ()) -> int:
        """Run one writing statement as its own transaction; returns the number of rows."""

    @abstractmethod
    def write(self, epoch: int, batch: int, lease_s: float, steps: list[Step]) -> None:
        """Run the steps in one transaction that moves the leader row from `batch` to the next.

        Raises `FenceError`, with nothing written, if the row does not hold `epoch` and `batch`.
        """

    @abstractmethod
    def take_over(self, row: SeatRow, take: Callable[[], int]) -> int:
        """Run `take`, which changes the leader row; first break the hold of a stopped leader."""


class SqliteSession(Session):
    """Writes under the write lock, with `BEGIN IMMEDIATE`."""

    sql = seat.SQLITE
    lock_wait_s = 30.0

    def _open(self) -> Any:
        return self._database.connector.connect(timeout_s=self.lock_wait_s)

    def _locked(self, work: Callable[[], Any], wait_s: float) -> Any:
        lock = self._database.write_lock
        if lock is None or not lock.acquire(wait_s):
            raise WriteLockBusyError("another process holds the write lock")
        try:
            return work()
        finally:
            lock.release()

    def execute(self, sql: str, values: Row = ()) -> int:
        """Run one writing statement as its own transaction; returns the number of rows."""
        connection: sqlite3.Connection = self.connect()
        return int(self._locked(lambda: connection.execute(sql, values).rowcount, 5.0))

    def write(self, epoch: int, batch: int, lease_s: float, steps: list[Step]) -> None:
        """Run the steps in one fenced transaction."""
        connection: sqlite3.Connection = self.connect()
        self._locked(
            lambda: self._write_locked(connection, (batch + 1, lease_s, epoch, batch), steps),
            self.lock_wait_s,
        )

    def _write_locked(self, connection: sqlite3.Connection, fence: Row, steps: list[Step]) -> None:
        execute = connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            if execute(self.sql.fence, fence).rowcount != 1:
                raise FenceError  # noqa: TRY301 - the rollback below is for it too
            for name, rows in steps:
                connection.executemany(self._statements[name].sql, rows)
            execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                execute("ROLLBACK")
            raise

    def take_over(self, row: SeatRow, take: Callable[[], int]) -> int:
        """Run `take`; a leader that is stopped while it holds the write lock is killed first."""
        try:
            return self._try_take(take, 1.0)
        except WriteLockBusyError:
            lock = self._database.write_lock
            is_leader = lock is not None and lock.find_holder() == row.pid
            if not is_leader or row.host != processes.this_host():
                raise
            if not processes.kill_process(row.pid, row.process_started):
                raise
            return self._try_take(take, 1.0)

    def _try_take(self, take: Callable[[], int], wait_s: float) -> int:
        # `take` locks again by itself; here it is only found out whether the lock can be had.
        self._locked(lambda: None, wait_s)
        return take()


def own_process() -> tuple[str, int, int]:
    """Tell host, pid and start of this process, as the leader row keeps them."""
    return processes.this_host(), os.getpid(), processes.started_at(os.getpid())
