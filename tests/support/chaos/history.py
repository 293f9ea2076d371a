"""What there is to judge a campaign by: what the client was told, what the operators wrote down,
what the database holds, what was done to the system.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.storage import tables
from dag_engine.storage.database import Database
from tests.support.chaos.faults import FaultRecord


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as the database holds it; its name is the key that it was asked for with."""

    run_id: str
    key: str
    state: str


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task as the database holds it."""

    run_id: str
    index: int
    operator: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """An attempt as the database holds it; moments in Unix time, None where there is none."""

    run_id: str
    index: int
    attempt: int
    state: str
    engine: str
    reason: str
    message: str
    queued_at: float
    ended_at: float | None
    worker: str

    @property
    def attempt_id(self) -> str:
        """Its id."""
        return f"{self.run_id}.{self.index}.{self.attempt}"


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """A reference to what a task brought; `path` is empty for a value in the reference itself."""

    run_id: str
    index: int
    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A move of a task, in Unix time."""

    run_id: str
    operator: str
    attempt: int
    from_state: str
    to_state: str
    at: float


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """What an operator wrote down: `start`, `end` or `planned failure`."""

    what: str
    key: str
    operator: str
    attempt_id: str
    pid: int
    at: float


@dataclass(slots=True)
class History:
    """All of it, as plain data, so that a test of the checker can forge any part."""

    asked: dict[str, str] = field(default_factory=dict)
    acked: dict[str, set[str]] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    ledger: list[LedgerLine] = field(default_factory=list)
    runs: list[StoredRun] = field(default_factory=list)
    tasks: list[StoredTask] = field(default_factory=list)
    attempts: list[StoredAttempt] = field(default_factory=list)
    artifacts: list[StoredArtifact] = field(default_factory=list)
    events: list[StoredEvent] = field(default_factory=list)
    faults: list[FaultRecord] = field(default_factory=list)
    replay_problems: list[str] = field(default_factory=list)
    lease_s: float = 0.0
    n_slots: int = 0


def read_client_log(history: History, path: Path) -> None:
    """Read what the client asked for and which answers came."""
    acked: dict[str, set[str]] = defaultdict(set)
    for entry in _read_lines(path):
        if entry["what"] == "asked":
            history.asked[entry["key"]] = entry["shape"]
        elif entry["what"] == "acked":
            acked[entry["key"]].add(entry["run"])
        else:
            history.answers.append(entry)
    history.acked = dict(acked)


def read_ledger(history: History, path: Path) -> None:
    """Read what the operators wrote down."""
    for entry in _read_lines(path):
        key, operator = entry["line"].split()
        line = LedgerLine(
            entry["what"], key, operator, entry["attempt_id"], entry["pid"], entry["at"]
        )
        history.ledger.append(line)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_database(history: History, database: Database) -> None:
    """Read all tables that tell of runs; nobody must be writing meanwhile."""
    database.read(lambda connection: _read_tables(history, connection), work_s=60.0)


def _read_tables(history: History, connection: Connection) -> None:
    runs, tasks, attempts = tables.runs.c, tables.tasks.c, tables.attempts.c
    history.runs = [
        StoredRun(*row)
        for row in connection.execute(
            sa.select(runs.run_id, runs.name, runs.state).where(runs.is_internal == 0)
        )
    ]
    history.tasks = [
        StoredTask(*row)
        for row in connection.execute(
            sa.select(tasks.run_id, tasks.idx, tasks.operator, tasks.state, tasks.reason_code)
        )
    ]
    history.attempts = [
        StoredAttempt(
            run_id=row.run_id,
            index=row.idx,
            attempt=row.attempt,
            state=row.state,
            engine=row.engine_id,
            reason=row.reason_code,
            message=row.message or "",
            queued_at=row.queued_at.timestamp(),
            ended_at=_unix(row.ended_at),
            worker=row.worker,
        )
        for row in connection.execute(sa.select(tables.attempts).order_by(attempts.attempt))
    ]
    history.artifacts = [
        StoredArtifact(
            run_id=row.run_id,
            index=row.idx,
            path=json.loads(row.ref).get("uri", "").removeprefix("file://"),
            sha256=row.sha256,
            size_bytes=row.size_bytes,
        )
        for row in connection.execute(sa.select(tables.artifacts))
    ]
    history.events = [
        StoredEvent(
            run_id=row.run_id,
            operator=row.operator,
            attempt=row.attempt,
            from_state=row.from_state,
            to_state=row.to_state,
            at=row.at.timestamp(),
        )
        for row in connection.execute(
            sa.select(tables.events).where(tables.events.c.kind == "task")
        )
    ]


def _unix(moment: dt.datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
