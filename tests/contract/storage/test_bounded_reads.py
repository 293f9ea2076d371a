"""What a page costs does not depend on how much is stored."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.seed import seed
from dag_engine.storage import (
    commands,
    dags,
    datasets,
    events,
    runs,
    scheduler_store,
    tables,
    tasks,
)
from dag_engine.storage.database import Database
from tests.support import databases
from tests.support.read_meter import count_reads

FEW, MORE = 2_500, 7_500
LIMIT = 5
SPACE = "default"
EARLY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LATE = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Landmarks:
    """A run in the midst of the first ones, the one with most tasks, and two DAGs; fingerprints of
    that run, and of the busy DAG, whose runs all have them.
    """

    cursor: str
    run: str
    middle_event: int
    busy_dag: str
    quiet_dag: str
    fingerprints: list[str]
    busy_fingerprints: list[str]


Read = Callable[[Database, Landmarks], object]


def list_runs(**filters: Any) -> Read:
    """Make a read of a page of runs; `cursor` and `dag_id` name landmarks."""

    def read(database: Database, at: Landmarks) -> object:
        given = {
            name: getattr(at, value) if name in ("cursor", "dag_id") else value
            for name, value in filters.items()
        }
        return runs.list_runs(database, SPACE, limit=LIMIT, **given)

    return read


READS: dict[str, Read] = {
    "runs": list_runs(),
    "runs, later": list_runs(cursor="cursor"),
    "runs of a state": list_runs(states=["succeeded"]),
    "runs of a state, later": list_runs(states=["succeeded"], cursor="cursor"),
    "runs of two states, later": list_runs(states=["succeeded", "failed"], cursor="cursor"),
    "runs of a state that no run has": list_runs(states=["running"]),
    "runs of a busy dag": list_runs(dag_id="busy_dag"),
    "runs of a busy dag, later": list_runs(dag_id="busy_dag", cursor="cursor"),
    "runs of a quiet dag, later": list_runs(dag_id="quiet_dag", cursor="cursor"),
    "runs of a dag and a state": list_runs(dag_id="busy_dag", states=["succeeded"]),
    "runs of a dag and a state that none has": list_runs(dag_id="busy_dag", states=["pausing"]),
    "a run": lambda d, at: runs.get_run(d, SPACE, at.run),
    "mark": lambda d, at: runs.read_mark(d, SPACE, at.run),
    "tasks": lambda d, at: tasks.list_tasks(d, SPACE, at.run, limit=LIMIT),
    "tasks, later": lambda d, at: tasks.list_tasks(d, SPACE, at.run, limit=LIMIT, cursor="20"),
    "tasks that failed": lambda d, at: tasks.list_tasks(d, SPACE, at.run, states=["failed"]),
    "events": lambda d, at: events.list_events_after(d, SPACE, at.run, 0, limit=LIMIT),
    "events, later": lambda d, at: events.list_events_after(
        d, SPACE, at.run, at.middle_event, limit=LIMIT
    ),
    "unfinished": lambda d, at: tasks.list_unfinished_operators(d, SPACE, at.run),
    "former results": lambda d, at: tasks.find_reusable(d, SPACE, at.busy_fingerprints),
    "own results": lambda d, at: tasks.find_reusable(d, SPACE, at.fingerprints, runs=[at.run]),
    "commands": lambda d, at: commands.list_commands(d, SPACE, at.run),
    "dags": lambda d, at: dags.list_dags(d, SPACE, limit=LIMIT),
    "versions": lambda d, at: dags.list_dag_versions(d, SPACE, at.busy_dag),
    "datasets": lambda d, at: datasets.list_datasets(d, SPACE, limit=2),
    "what the scheduler looks for": lambda d, at: _look_as_scheduler(d),
}


def _look_as_scheduler(database: Database) -> None:
    for text in (scheduler_store._FIND_NEW, scheduler_store._FIND_COMMANDS):
        database.read(lambda c, text=text: c.exec_driver_sql(text).all())


@pytest.fixture(params=["sqlite", "analyzed", pytest.param("mysql", marks=pytest.mark.mysql)])
def seeded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with some runs; the analyzed one will have figures that are out of date."""
    if request.param == "mysql":
        database = request.getfixturevalue("server_database")
        seed(database, FEW, end=EARLY)
        yield database
        return
    database = databases.open_migrated(databases.sqlite_url(tmp_path))
    seed(database, FEW, end=EARLY)
    if request.param == "analyzed":
        database.run_txn(lambda c: c.exec_driver_sql("ANALYZE"))
    yield database
    database.close()


def find_landmarks(database: Database) -> Landmarks:
    columns = tables.runs.c
    query = sa.select(columns.run_id, columns.dag_id, columns.n_tasks, columns.last_seq)
    rows = database.read(lambda c: c.execute(query.order_by(columns.run_id)).all())
    by_use = [dag_id for dag_id, _ in Counter(row.dag_id for row in rows).most_common()]
    run = max(rows, key=lambda row: (row.n_tasks, row.run_id))
    busy_run = next(row.run_id for row in rows if row.dag_id == by_use[0])
    return Landmarks(
        cursor=rows[len(rows) // 2].run_id,
        run=run.run_id,
        middle_event=run.last_seq // 2,
        busy_dag=by_use[0],
        quiet_dag=by_use[-1],
        fingerprints=find_fingerprints(database, run.run_id),
        busy_fingerprints=find_fingerprints(database, busy_run),
    )


def find_fingerprints(database: Database, run_id: str) -> list[str]:
    return [task.fingerprint for task in tasks.list_tasks(database, SPACE, run_id, limit=20).items]


def test_no_read_grows_with_what_is_stored(seeded: Database) -> None:
    at = find_landmarks(seeded)
    before = {
        name: count_reads(seeded, lambda r=read: r(seeded, at)) for name, read in READS.items()
    }
    seed(seeded, MORE, end=LATE)
    for name, read in READS.items():
        after = count_reads(seeded, lambda r=read: r(seeded, at))
        assert after <= 1.5 * before[name] + 30, (name, before[name], after)
