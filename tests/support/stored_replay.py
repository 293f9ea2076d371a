"""Replays the events of every run of a real database and compares them with its other tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.core.plan import Plan
from dag_engine.storage import chunks, tables
from dag_engine.storage.database import Database
from tests.support.event_replay import StoredState, check_stored, replay_events

_RUNS_AT_ONCE = 100
_READ_LIMIT_S = 120.0


@dataclass(slots=True)
class Replayed:
    """How much was replayed, and what did not fit; `n_open` runs have not ended."""

    n_runs: int = 0
    n_open: int = 0
    problems: list[str] = field(default_factory=list)


def replay_database(database: Database) -> Replayed:
    """Replay every run that is stored, of every namespace; nobody must be writing meanwhile."""
    total = Replayed()
    runs = tables.runs.c
    ids = database.read(lambda c: list(c.scalars(sa.select(runs.run_id).order_by(runs.run_id))))
    for start in range(0, len(ids), _RUNS_AT_ONCE):
        some = ids[start : start + _RUNS_AT_ONCE]
        found = database.read(
            lambda connection, some=some: _replay_some(connection, some), work_s=_READ_LIMIT_S
        )
        total.n_runs += found.n_runs
        total.n_open += found.n_open
        total.problems += found.problems
    return total


def _replay_some(connection: Connection, ids: list[str]) -> Replayed:
    found = Replayed()
    rows = {
        table.name: _group(connection, table, ids)
        for table in (tables.runs, tables.run_plans, tables.tasks, tables.attempts, tables.events)
    }
    for run_id in ids:
        [run] = rows["runs"][run_id]
        pieces = [piece.data for piece in rows["run_plans"][run_id]]
        plan = msgspec.json.decode(chunks.join(pieces), type=Plan)
        events = rows["events"][run_id]
        found.n_runs += 1
        found.n_open += run.ended_at is None
        stored = StoredState(
            run_id=run_id,
            state=run.state,
            reason_code=run.reason_code,
            last_seq=run.last_seq,
            counts=json.loads(run.counts or "{}"),
            started_at=run.started_at,
            ended_at=run.ended_at,
            tasks=rows["tasks"][run_id],
            attempts=[
                _Attempt(row.idx, row.attempt, row.state) for row in rows["attempts"][run_id]
            ],
        )
        found.problems += check_stored(replay_events(plan.tasks, events), stored)
    return found


@dataclass(frozen=True, slots=True)
class _Attempt:
    index: int
    attempt: int
    state: str


def _group(connection: Connection, table: sa.Table, ids: list[str]) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = {run_id: [] for run_id in ids}
    for row in _select(connection, table, ids):
        grouped[row.run_id].append(row)
    return grouped


def _select(connection: Connection, table: sa.Table, ids: list[str]) -> Iterator[Any]:
    query = sa.select(table).where(table.c.run_id.in_(ids)).order_by(*table.primary_key)
    yield from connection.execute(query)
