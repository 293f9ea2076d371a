"""The database as the rest of the program sees it: transactions and reads with a deadline."""

from __future__ import annotations

import logging
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from dag_engine.config import Config, DatabaseConfig
from dag_engine.storage import failures
from dag_engine.storage.by_index import HintedSqliteCompiler
from dag_engine.storage.connections import SqliteConnector, TimeLimit, make_connector
from dag_engine.storage.errors import DatabaseUnavailableError, ForkedDatabaseError
from dag_engine.storage.kept_connections import KeptConnections
from dag_engine.storage.shared_commits import SharedCommits
from dag_engine.storage.write_lock import WriteLock

log = logging.getLogger(__name__)

T = TypeVar("T")

DEADLINE_S = 1.8
"""So that the api can say within 2 s that the database is away."""
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 2.0
_SLOW_S = 1.0
_LEAST_S = 0.05
_BUSY_LIMIT = "busy_limit_ms"


class _Limits:
    """The time limits of one call, counted from its beginning."""

    def __init__(self, deadline_s: float, work_s: float | None) -> None:
        self._started = time.monotonic()
        self._deadline_s = deadline_s
        self._work_s = max(deadline_s, work_s or 0.0)
        self.is_long = self._work_s > deadline_s

    def left_s(self) -> float:
        """Tell how long a database that is away is still waited for."""
        return max(self._started + self._deadline_s - time.monotonic(), _LEAST_S)

    def work_left_s(self) -> float:
        """Tell how long a database that answers may still take."""
        return max(self._started + self._work_s - time.monotonic(), _LEAST_S)

    def warn_if_slow(self) -> None:
        """Log a transaction that held others up."""
        took_s = time.monotonic() - self._started
        if took_s > _SLOW_S:
            log.warning("transaction_slow took_s=%.3f", took_s)


class Database:
    """One database, with a pool of connections for this process.

    It must be opened after a fork. `run_txn` is the only way to write (the scheduler's own
    connection apart): it repeats the whole function after a lost lock or connection, so that the
    function must be repeatable and do nothing else but talk to the database.
    """

    def __init__(self, url: str, config: DatabaseConfig) -> None:
        self.url = url
        self.config = config
        self.connector = make_connector(url, config)
        self.dialect = self.connector.dialect
        self.write_lock: WriteLock | None = None
        if isinstance(self.connector, SqliteConnector):
            path = self.connector.path
            self.write_lock = WriteLock(path.with_name(path.name + ".lock"))
        self._pid = os.getpid()
        self._shared = SharedCommits()
        self._limit = TimeLimit()
        self.engine = self._make_engine()
        self._kept = KeptConnections(self.engine.connect, config.pool_size)

    def _make_engine(self) -> Engine:
        engine = sa.create_engine(
            "sqlite://" if self.dialect == "sqlite" else "mysql+pymysql://",
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=self.config.pool_size,
            max_overflow=self.config.pool_size,
            pool_timeout=DEADLINE_S,
            pool_recycle=1800,
            pool_reset_on_return=None,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
        )
        if self.dialect == "sqlite":
            engine.dialect.statement_compiler = HintedSqliteCompiler
        return engine

    def _connect(self) -> Any:
        return self.connector.connect(timeout_s=self._limit.seconds, is_multi=True)

    @property
    def path(self) -> Path | None:
        """The SQLite file, if it is one."""
        return self.connector.path if isinstance(self.connector, SqliteConnector) else None

    def run_txn(
        self,
        work: Callable[[Connection], T],
        *,
        deadline_s: float = DEADLINE_S,
        work_s: float | None = None,
    ) -> T:
        """Run `work` in a write transaction and return its result once that is committed.

        Parameters
        ----------
        work : callable
            Gets the connection. It is called again after a lost lock or connection; a commit that
            broke off may have gone through, so it must make that harmless.
        deadline_s : float
            Seconds within which a database that is away must have come back.
        work_s : float, optional
            Seconds that long work may take once the database has answered.

        Raises
        ------
        DatabaseUnavailableError
            If the database could not be used in time.
        """
        return self._repeat(self._write_once, work, _Limits(deadline_s, work_s))

    def run_shared_txn(self, work: Callable[[Connection], T], *, work_s: float | None = None) -> T:
        """Run `work` as `run_txn` does, in one transaction with what other threads write so at the
        same time. It is for short work, since the others wait for it.
        """
        return self._shared.run(work, lambda each: self.run_txn(each, work_s=work_s))

    def read(
        self,
        work: Callable[[Connection], T],
        *,
        deadline_s: float = DEADLINE_S,
        work_s: float | None = None,
    ) -> T:
        """Run `work`, which only reads; every statement sees the newest committed state.

        Parameters and errors are those of `run_txn`.
        """
        return self._repeat(self._read_once, work, _Limits(deadline_s, work_s))

    def _repeat(
        self,
        once: Callable[[Callable[[Connection], T], _Limits], T],
        work: Callable[[Connection], T],
        limits: _Limits,
    ) -> T:
        self.check_process()
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                result = once(work, limits)
            except Exception as error:
                if not failures.is_retryable(error):
                    raise
                pause_s = self._pause_before_retry(error, pause_s, limits)
            else:
                limits.warn_if_slow()
                return result

    def _pause_before_retry(self, error: Exception, pause_s: float, limits: _Limits) -> float:
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        left_s = limits.left_s()
        if failures.is_contention(error):
            pause_s = min(pause_s, 0.2)
            left_s = limits.work_left_s()
        wait_s = pause_s * random.uniform(0.5, 1.0)  # jitter, no secret
        if left_s <= _LEAST_S or wait_s >= left_s:
            raise DatabaseUnavailableError(failures.describe(error)) from error
        time.sleep(wait_s)
        return pause_s

    def _read_once(self, work: Callable[[Connection], T], limits: _Limits) -> T:
        with self._limit.set(limits.left_s()), self._kept.lent() as connection:
            self._limit_answers(connection, limits.left_s())
            if limits.is_long and self.dialect == "mysql":
                # A server that hangs is found out by a question that is answered at once.
                connection.exec_driver_sql("SELECT 1")
                self._limit_answers(connection, limits.work_left_s())
            return work(connection)

    def _write_once(self, work: Callable[[Connection], T], limits: _Limits) -> T:
        if self.write_lock is None:
            return self._write_unlocked(work, limits)
        if not self.write_lock.acquire(limits.work_left_s()):
            raise DatabaseUnavailableError("another process holds the write lock")
        try:
            return self._write_unlocked(work, limits)
        finally:
            self.write_lock.release()

    def _write_unlocked(self, work: Callable[[Connection], T], limits: _Limits) -> T:
        with self._limit.set(limits.left_s()), self._kept.lent() as connection:
            self._limit_answers(connection, limits.left_s())
            connection.exec_driver_sql(
                "BEGIN IMMEDIATE" if self.dialect == "sqlite" else "START TRANSACTION"
            )
            try:
                if limits.is_long:
                    self._limit_answers(connection, limits.work_left_s())
                result = work(connection)
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                self._roll_back(connection)
                raise
            return result

    def _roll_back(self, connection: Connection) -> None:
        if connection.invalidated:
            return
        try:
            connection.exec_driver_sql("ROLLBACK")
        except Exception:  # noqa: BLE001 - whatever went wrong, this connection is not used again
            connection.invalidate()

    def _limit_answers(self, connection: Connection, seconds: float) -> None:
        raw: Any = connection.connection.dbapi_connection
        if self.dialect == "sqlite":
            # In tenths of a second it is mostly what it was, and need not be said again.
            limit_ms = 100 * math.ceil(10 * seconds)
            if connection.info.get(_BUSY_LIMIT) != limit_ms:
                raw.execute(f"PRAGMA busy_timeout={limit_ms}")
                connection.info[_BUSY_LIMIT] = limit_ms
            return
        limit = min(float(self.config.read_timeout_s), seconds)
        # PyMySQL reads these before every packet, and has no public way to change them.
        raw._read_timeout = limit
        raw._write_timeout = limit

    def check_process(self) -> None:
        """Refuse to work in a forked child: it would share sockets and locks with its parent."""
        if os.getpid() != self._pid:
            raise ForkedDatabaseError(self._pid, os.getpid())

    def drop_connections(self) -> None:
        """Close all connections that nobody uses."""
        self._kept.clear()
        self.engine.dispose()

    def close(self) -> None:
        """Close all connections."""
        self.drop_connections()
        if self.write_lock is not None:
            self.write_lock.close()


def database_url(config: Config) -> str:
    """Tell the URL: the configured one, else the SQLite file of the home folder."""
    if config.database.url:
        return config.database.url
    return f"sqlite:///{(config.home / 'dagengine.db').absolute()}"


def open_database(config: Config, *, pool_size: int | None = None) -> Database:
    """Open the configured database; nothing is asked of it yet."""
    settings = config.database
    if pool_size is not None:
        settings = replace(settings, pool_size=pool_size)
    return Database(database_url(config), settings)
