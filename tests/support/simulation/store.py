"""The real store of the scheduler over tables in memory: only the session beneath it is played."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from dag_engine.core.changes import StoredEngine, StoredRun, TaskRow
from dag_engine.storage import failures, scheduler_store, seat
from dag_engine.storage.batch_rows import Row, Step
from dag_engine.storage.errors import DatabaseUnavailableError
from dag_engine.storage.leadership import Leadership
from dag_engine.storage.moments import from_database
from dag_engine.storage.scheduler_store import SchedulerStore
from dag_engine.storage.seat import SeatRow
from dag_engine.storage.sessions import FenceError, Session
from executors.base import ArtifactRef
from tests.support.simulation.tables import EngineTuple, Tables

T = TypeVar("T")

_READ_DEADLINE_S = 5.0
_decode_ref = msgspec.json.Decoder(ArtifactRef).decode


class Process(Protocol):
    """The process that a store works for: whatever can happen to it happens in these calls."""

    def reach_database(self, what: str) -> None:
        """Pass a point at which the process may be stopped or killed.

        Raises an error of the driver where the database is away.
        """

    def lose_answer(self) -> bool:
        """Tell whether the answer to the write that was just done is lost."""

    def now(self) -> float:
        """Return the moment of the timeline."""

    def wait(self, seconds: float) -> None:
        """Let time pass for everybody else."""

    def is_lease_over(self, holder: str, lease_until: float) -> bool:
        """Tell whether a lease has run out, or its holder is known to be dead."""


def make_away_error() -> sqlite3.OperationalError:
    """Make what a driver raises when the database cannot be reached."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


class MemorySession(Session):
    """A connection to the tables in memory, with the fence of the leader row."""

    sql = seat.SQLITE

    def __init__(self, tables: Tables, process: Process) -> None:
        self._tables = tables
        self._process = process
        self._answers: dict[str, Callable[[Row], list[Row]]] = {
            self.sql.read: self._read_seat,
            self.sql.progress: lambda _: [(tables.seat.epoch, tables.seat.batch)],
            scheduler_store._FIND_NEW: lambda _: [(run_id,) for run_id in tables.find_new()],
            scheduler_store._FIND_LIVE: lambda _: [(run_id,) for run_id in tables.find_live()],
            scheduler_store._FIND_COMMANDS: lambda _: [
                (c.command_id, c.run_id, c.kind, c.operator)
                for c in tables.commands.values()
                if c.consumed_at is None
            ],
            "SELECT catalogue_revision FROM leader WHERE seat = 1": lambda _: [
                (tables.seat.catalogue_revision,)
            ],
            "SELECT engine_id, catalogue_digest FROM operator_engines": lambda _: [
                (engine.engine_id, engine.catalogue_digest) for engine in tables.engines.values()
            ],
        }
        self._changes: dict[str, Callable[[Row], int]] = {
            self.sql.take: self._take,
            self.sql.renew: self._renew,
            self.sql.resign: self._resign,
        }

    def _open(self) -> Any:
        raise NotImplementedError("there is nothing to open")

    def drop(self) -> None:
        """Drop the connection; the next one is as good."""

    def query(self, sql: str, values: Row = ()) -> list[Row]:
        """Answer one of the scheduler's questions."""
        self._process.reach_database("read")
        return self._answers[sql](values)

    def execute(self, sql: str, values: Row = ()) -> int:
        """Change the leader row."""
        self._process.reach_database("seat")
        n_rows = self._changes[sql](values)
        self._process.reach_database("seat written")
        if self._process.lose_answer():
            raise make_away_error()
        return n_rows

    def write(self, epoch: int, batch: int, lease_s: float, steps: list[Step]) -> None:
        """Run the steps in one fenced transaction; the answer to its commit may be lost."""
        self._process.reach_database("write")
        row = self._tables.seat
        if (row.epoch, row.batch) != (epoch, batch):
            raise FenceError
        self._tables.write(steps)
        row.batch = batch + 1
        row.lease_until = self._process.now() + lease_s
        self._process.reach_database("written")
        if self._process.lose_answer():
            raise make_away_error()

    def take_over(self, row: SeatRow, take: Callable[[], int]) -> int:
        """Take the leader row; nobody holds a lock on it here."""
        del row
        return take()

    def _read_seat(self, values: Row) -> list[Row]:
        row, now = self._tables.seat, self._process.now()
        is_over = self._process.is_lease_over(row.holder, row.lease_until)
        is_odd = row.lease_until > now + values[0]
        found = (row.epoch, row.batch, row.holder, row.lease_until, is_over, is_odd, "", 0, 0)
        return [found]

    def _take(self, values: Row) -> int:
        holder, url, lease_s = values[:3]
        epoch, batch, lease_until = values[-3:]
        row = self._tables.seat
        if (row.epoch, row.batch, row.lease_until) != (epoch, batch, lease_until):
            return 0
        row.epoch += 1
        row.holder, row.url = holder, url
        row.lease_until = self._process.now() + lease_s
        return 1

    def _renew(self, values: Row) -> int:
        row = self._tables.seat
        if row.epoch != values[1]:
            return 0
        row.lease_until = self._process.now() + values[0]
        return 1

    def _resign(self, values: Row) -> int:
        row = self._tables.seat
        if row.epoch != values[0]:
            return 0
        row.holder, row.url, row.lease_until = "", "", self._process.now()
        return 1


class _NoDatabase:
    """What a store asks of its database before it has a session."""

    dialect = "sqlite"


class MemoryStore(SchedulerStore):
    """The scheduler's store; what it would read by SQLAlchemy it reads from the tables."""

    def __init__(self, tables: Tables, process: Process, holder: str, lease_s: float) -> None:
        database: Any = _NoDatabase()
        super().__init__(database, holder=holder, url=holder, lease_s=lease_s)
        self._tables = tables
        self._process = process
        self._session = MemorySession(tables, process)
        self._leadership = Leadership(self._session, holder=holder, url=holder, lease_s=lease_s)

    def load_runs(self, run_ids: list[str]) -> list[StoredRun]:
        """Load runs with plans, tasks and outputs."""
        self._read_table("load runs")
        return [load_run(self._tables, r) for r in run_ids if r in self._tables.runs]

    def load_engines(self) -> list[StoredEngine]:
        """Load the operator engines that were not deregistered."""
        self._read_table("load engines")
        return [
            StoredEngine(
                row.engine_id, row.incarnation, row.registration.encode(), bool(row.is_alive)
            )
            for row in sorted(self._tables.engines.values(), key=_engine_id)
            if row.deregistered_at is None
        ]

    def _read_table(self, what: str) -> None:
        self._with_session(lambda: self._process.reach_database(what), _READ_DEADLINE_S)

    def _with_session(self, work: Callable[[], T], deadline_s: float | None) -> T:
        """Do as the store does, in virtual time."""
        now = self._process.now
        deadline = None if deadline_s is None else now() + deadline_s
        pause_s = 0.05
        while True:
            try:
                return work()
            except sqlite3.Error as error:
                if not failures.is_retryable(error):
                    raise
                if deadline is not None and now() + pause_s > deadline:
                    raise DatabaseUnavailableError(failures.describe(error)) from error
            self._process.wait(pause_s)
            pause_s = min(pause_s * 2, 2.0)


def _engine_id(row: Any) -> str:
    assert isinstance(row, EngineTuple)
    return str(row.engine_id)


def load_task(row: Any) -> TaskRow:
    """Make the changing part of a task from its row."""
    return TaskRow(
        run_id=row.run_id,
        index=row.idx,
        operator=row.operator,
        state=row.state,
        reason_code=row.reason_code,
        reason=row.reason or "",
        attempt=row.attempt,
        engine_id=row.engine_id,
        n_failures=row.n_failures,
        n_losses=row.n_losses,
        not_before=_moment(row.not_before),
        started_at=_moment(row.started_at),
        ended_at=_moment(row.ended_at),
        progress=None if row.progress is None else msgspec.json.decode(row.progress),
        metrics=None if row.metrics is None else msgspec.json.decode(row.metrics),
    )


def load_run(tables: Tables, run_id: str, load: Callable[[Any], TaskRow] = load_task) -> StoredRun:
    """Load a run as `dag_engine.storage.loading` does."""
    row = tables.runs[run_id]
    outputs: dict[int, list[ArtifactRef]] = defaultdict(list)
    for task in row.plan.tasks:
        for port in range(task.n_outputs):
            artifact = tables.artifacts.get((run_id, task.index, port))
            if artifact is not None:
                outputs[task.index].append(_decode_ref(artifact.ref))
    created_at = from_database(row.created_at)
    assert created_at is not None
    return StoredRun(
        run_id=run_id,
        namespace=row.namespace,
        state=row.state,
        reason_code=row.reason_code,
        reason=row.reason,
        priority=row.priority,
        created_at=created_at,
        started_at=from_database(row.started_at),
        last_seq=row.last_seq,
        plan=row.plan,
        tasks=[load(tables.tasks[run_id][task.index]) for task in row.plan.tasks],
        outputs=dict(outputs),
    )


def _moment(value: str | None) -> dt.datetime | None:
    return None if value is None else from_database(value)
