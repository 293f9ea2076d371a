"""What a restored database must forget and change, for the world went on after the copy was made.

Operator engines may have run attempts that the copy does not know, and remember their numbers: the
same number again would never be started. So what is not over goes on under numbers that nobody can
have given out. A scheduler of the former life is fenced off by an epoch that is higher by as much:
where the former content is lost, nobody knows how often the lead changed hands since the copy.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.core.states import FINAL_TASK_STATES
from dag_engine.storage import tables
from dag_engine.storage.database import Database
from dag_engine.storage.loading import batches
from dag_engine.storage.moments import UTC
from dag_engine.storage.seat import SEAT

_WORK_S = 600.0
_LEAST_STEP = 1000
"""More attempts than a task makes, and more often than the lead changes hands, in the time of a
quick restore.
"""


@dataclass(frozen=True, slots=True)
class Afterlife:
    """How many runs were not over, and how far attempts and the epoch were moved."""

    n_open_runs: int
    step: int


def begin_anew(database: Database, made_at: dt.datetime, *, former_epoch: int) -> Afterlife:
    """Change a database that was filled from a copy so that work can go on from it."""
    now = dt.datetime.now(UTC)
    age_s = max(0.0, (now - made_at).total_seconds())
    # A second restore of the same copy steps further than the first one.
    step = _LEAST_STEP + int(age_s)

    def work(connection: Connection) -> int:
        _end_reign(connection, now, former_epoch, step)
        connection.execute(tables.components.delete())
        runs = tables.runs.c
        open_runs = connection.execute(
            sa.select(runs.run_id, runs.namespace, runs.last_seq).where(runs.ended_at.is_(None))
        ).all()
        for rows in batches(list(open_runs)):
            _move_attempts(connection, [row.run_id for row in rows], step)
            _note_restore(connection, rows, now, made_at, step)
        return len(open_runs)

    return Afterlife(database.run_txn(work, work_s=_WORK_S), step)


def _end_reign(connection: Connection, now: dt.datetime, former_epoch: int, step: int) -> None:
    leader = tables.leader
    epoch = connection.scalar(sa.select(leader.c.epoch))
    seat = {
        "epoch": max(epoch or 0, former_epoch) + step,
        "holder": "",
        "url": "",
        "lease_until": now,
        "connection_id": 0,
        "host": "",
        "pid": 0,
        "process_started": 0,
    }
    if epoch is None:
        connection.execute(leader.insert().values(seat=SEAT, **seat))
    else:
        connection.execute(leader.update().values(seat))


def _move_attempts(connection: Connection, run_ids: list[str], step: int) -> None:
    for table in (tables.tasks, tables.attempts):
        connection.execute(
            table.update()
            .where(table.c.run_id.in_(run_ids), table.c.state.not_in(sorted(FINAL_TASK_STATES)))
            .values(attempt=table.c.attempt + step)
        )


def _note_restore(
    connection: Connection, rows: Any, now: dt.datetime, made_at: dt.datetime, step: int
) -> None:
    text = (
        f"The database was restored from a copy of {made_at:%Y-%m-%d %H:%M:%S} UTC; attempts are "
        f"numbered from {step} on."
    )
    events = [
        {
            "run_id": row.run_id,
            "seq": row.last_seq + 1,
            "namespace": row.namespace,
            "at": now,
            "kind": "restored",
            "attempt": step,
            "reason_code": "restored",
            "reason": text,
        }
        for row in rows
    ]
    connection.execute(tables.events.insert(), events)
    runs = tables.runs
    connection.execute(
        runs.update()
        .where(runs.c.run_id.in_([row.run_id for row in rows]))
        .values(last_seq=runs.c.last_seq + 1)
    )
