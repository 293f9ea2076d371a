"""What the scheduler reads and writes. All its writes are fenced by the epoch in the leader row."""

from __future__ import annotations

import datetime as dt
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from dag_engine.core.changes import Batch, StoredCommand, StoredEngine, StoredRun
from dag_engine.storage import failures, loading, registrations
from dag_engine.storage.batch_rows import Row, Step, make_steps
from dag_engine.storage.database import Database
from dag_engine.storage.errors import (
    BatchRefusedError,
    DatabaseUnavailableError,
    LeadershipLostError,
    StorageError,
)
from dag_engine.storage.leadership import Leadership
from dag_engine.storage.moments import UTC, to_text
from dag_engine.storage.sessions import FenceError, Session, SqliteSession
from executors.base import Registration

log = logging.getLogger(__name__)

T = TypeVar("T")

_READ_DEADLINE_S = 5.0
_LOAD_LIMIT_S = 60.0
_LONGEST_PAUSE_S = 2.0
_FIND_NEW = (
    "SELECT run_id FROM runs WHERE ended_at IS NULL AND consumed_at IS NULL "
    "ORDER BY run_id LIMIT 1000"
)
_FIND_LIVE = (
    "SELECT run_id FROM runs WHERE ended_at IS NULL AND consumed_at IS NOT NULL ORDER BY run_id"
)
_FIND_COMMANDS = (
    "SELECT command_id, run_id, kind, operator FROM commands WHERE consumed_at IS NULL "
    "ORDER BY command_id LIMIT 1000"
)


class SchedulerStore:
    """The scheduler's face of the storage, over one connection of its own.

    Its methods may be called from several threads; one works at a time. Reads raise
    `DatabaseUnavailableError` after 5 s without database; `commit` alone waits for ever.

    Parameters
    ----------
    database : Database
        The database; `SchedulerStore` opens one more connection to it.
    holder : str
        Name of this scheduler process, unique to it (host, pid and something random).
    url : str
        Where this scheduler answers HTTP; the api reads it from the leader row.
    lease_s : float
        Seconds for which leadership is granted; each commit and `renew` grant it anew.
    """

    def __init__(self, database: Database, *, holder: str, url: str, lease_s: float) -> None:
        self._database = database
        self._lease_s = lease_s
        self._session = _make_session(database, holder)
        self._leadership = Leadership(self._session, holder=holder, url=url, lease_s=lease_s)
        self._guard = threading.RLock()
        self._namespaces: dict[str, str] = {}

    @property
    def epoch(self) -> int:
        """The epoch of our leadership; 0 while we do not lead."""
        return self._leadership.epoch

    # --- leadership -------------------------------------------------------------------------------

    def try_lead(self) -> int | None:
        """Lead if nobody else does: returns our epoch, or None while another's lease runs."""
        return self._with_session(self._leadership.try_lead, _READ_DEADLINE_S)

    def renew(self) -> bool:
        """Prolong the lease; false if another scheduler leads by now."""
        return self._with_session(self._leadership.renew, _READ_DEADLINE_S)

    def resign(self) -> None:
        """Give up the lease, so that a standby need not wait for its end."""
        try:
            self._with_session(self._leadership.resign, _READ_DEADLINE_S)
        except DatabaseUnavailableError as error:
            log.warning("resign_failed detail=%s", error.detail)

    # --- reading ----------------------------------------------------------------------------------

    def load_live_run_ids(self) -> list[str]:
        """Tell which runs have been taken up and are not over, oldest first."""
        return [str(row[0]) for row in self._query(_FIND_LIVE)]

    def find_new_run_ids(self, limit: int = 1000) -> list[str]:
        """Tell which runs nobody has taken up yet, oldest first."""
        return [str(row[0]) for row in self._query(_FIND_NEW)[:limit]]

    def find_commands(self, limit: int = 1000) -> list[StoredCommand]:
        """Tell which commands wait, oldest first."""
        return [StoredCommand(*row) for row in self._query(_FIND_COMMANDS)[:limit]]

    def load_runs(self, run_ids: list[str]) -> list[StoredRun]:
        """Load runs with plans, tasks and outputs, in the order of the ids; unknown ids are left
        out.
        """
        loaded = self._database.read(
            lambda connection: loading.load_runs(connection, run_ids),
            deadline_s=_READ_DEADLINE_S,
            work_s=_LOAD_LIMIT_S,
        )
        for run in loaded:
            if run.namespace != "default":
                self._namespaces[run.run_id] = run.namespace
        return loaded

    def load_engines(self) -> list[StoredEngine]:
        """Load the operator engines that were not deregistered."""
        return self._database.read(loading.load_engines, deadline_s=_READ_DEADLINE_S)

    # --- writing ----------------------------------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        """Write a batch in one fenced transaction; waits for the database as long as it is away.

        Raises
        ------
        LeadershipLostError
            If another scheduler leads. Nothing was written.
        BatchRefusedError
            If the database refuses the rows for good. Nothing was written.
        """
        try:
            steps = make_steps(batch, self._namespaces, dt.datetime.now(UTC))
        except Exception as error:
            # Whatever others told is in these rows: a moment, say, that no calendar has.
            raise BatchRefusedError(failures.describe(error)) from error
        self._write(lambda: steps, deadline_s=None)
        for run in batch.runs.values():
            if run.ended_at is not None:
                self._namespaces.pop(run.run_id, None)

    def save_registration(self, registration: Registration) -> None:
        """Remember an operator engine, and what it offers if that has changed.

        `registration` is kept without `algorithms` and `inventory`.
        """
        self._write(
            lambda: registrations.save_steps(self._session, registration, dt.datetime.now(UTC)),
            deadline_s=_READ_DEADLINE_S,
        )

    def deregister_engine(self, engine_id: str) -> None:
        """Forget an operator engine with all that it alone offers."""
        self._write(
            lambda: registrations.drop_steps(self._session, engine_id, dt.datetime.now(UTC)),
            deadline_s=_READ_DEADLINE_S,
        )

    def touch_engines(self, engine_ids: Iterable[str], now: dt.datetime) -> None:
        """Note that these engines were heard of; for people, no decision hangs on it."""
        rows = [(to_text(now), 1, engine_id) for engine_id in sorted(set(engine_ids))]
        if rows:
            self._write(lambda: [Step("touch_engine", rows)], deadline_s=_READ_DEADLINE_S)

    def close(self) -> None:
        """Close the connection; the lease runs on unless we resigned."""
        with self._guard:
            self._session.drop()

    # --- how ----------------------------------------------------------------------------------

    def _query(self, sql: str) -> list[Row]:
        return self._with_session(lambda: self._session.query(sql), _READ_DEADLINE_S)

    def _write(self, make: Callable[[], list[Step]], deadline_s: float | None) -> None:
        with self._guard:
            batch = self._leadership.batch
            try:
                self._with_session(lambda: self._write_once(batch, make), deadline_s)
            except StorageError:
                raise
            except Exception as error:
                raise BatchRefusedError(failures.describe(error)) from error
            self._leadership.batch = batch + 1

    def _write_once(self, batch: int, make: Callable[[], list[Step]]) -> None:
        epoch = self._leadership.epoch
        if not epoch:
            raise LeadershipLostError(epoch)
        try:
            self._session.write(epoch, batch, self._lease_s, make())
        except FenceError as error:
            # Either another leads, or a commit whose answer was lost has gone through after all:
            # the batch number, which only this leader moves, tells which.
            if self._session.query(self._session.sql.progress) != [(epoch, batch + 1)]:
                self._leadership.forget()
                raise LeadershipLostError(epoch) from error
            log.info("commit_settled epoch=%d batch=%d", epoch, batch + 1)

    def _with_session(self, work: Callable[[], T], deadline_s: float | None) -> T:
        """Run `work`; repeat it while the database is away, until the deadline if there is one."""
        deadline = None if deadline_s is None else time.monotonic() + deadline_s
        pause_s = 0.01
        with self._guard:
            while True:
                try:
                    return work()
                except StorageError:
                    raise
                except Exception as error:  # noqa: BLE001 - raised again unless it may pass
                    pause_s = self._pause(error, pause_s, deadline)

    def _pause(self, error: Exception, pause_s: float, deadline: float | None) -> float:
        if not failures.is_retryable(error):
            raise error
        if not failures.is_contention(error):
            self._session.drop()
        wait_s = pause_s * random.uniform(0.5, 1.0)  # jitter, no secret
        if deadline is not None and time.monotonic() + wait_s > deadline:
            raise DatabaseUnavailableError(failures.describe(error)) from error
        if pause_s > 0.1:
            log.warning("database_away detail=%s", failures.describe(error))
        time.sleep(wait_s)
        return min(pause_s * 2, 0.2 if failures.is_contention(error) else _LONGEST_PAUSE_S)


def _make_session(database: Database, holder: str) -> Session:
    """Make the session that fits the database; nothing is opened yet."""
    if database.dialect == "sqlite":
        return SqliteSession(database, holder)
    # Imported here, so that a start on SQLite does not load it.
    from dag_engine.storage.mysql_session import MysqlSession

    return MysqlSession(database, holder)
