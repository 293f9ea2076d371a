"""Lists read straight from an index."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dag_engine.storage import (
    commands,
    dags,
    datasets,
    events,
    expiry,
    idempotency,
    reuse,
    runs,
    tasks,
)
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NotFoundError
from tests.support.databases import open_migrated, sqlite_url
from tests.support.read_meter import note_selects
from tests.support.stored_samples import (
    MOMENT,
    accept_sample_run,
    make_full_batch,
    make_plan,
    make_store,
)


@pytest.fixture
def file_database(tmp_path: Path) -> Iterator[Database]:
    database = open_migrated(sqlite_url(tmp_path))
    yield database
    database.close()


FINGERPRINTS = [task.fingerprint for task in make_plan(2).tasks]
READS: dict[str, Callable[[Database], Any]] = {
    "runs": lambda d: runs.list_runs(d, "default", cursor="r5"),
    "runs by state": lambda d: runs.list_runs(d, "default", states=["failed", "running"]),
    "runs of a dag": lambda d: runs.list_runs(d, "default", dag_id="d1"),
    "runs of a dag by state": lambda d: runs.list_runs(
        d, "default", dag_id="d1", states=["failed"]
    ),
    "run": lambda d: _read_mark(d),
    "open runs": runs.count_open,
    "tasks": lambda d: tasks.list_tasks(d, "default", "r1", states=["failed"], cursor="5"),
    "unfinished": lambda d: tasks.list_unfinished_operators(d, "default", "r1"),
    "attempts": lambda d: tasks.list_attempts(d, "default", "r1", 1),
    "events": lambda d: events.list_events_after(d, "default", "r1", 5),
    "commands": lambda d: commands.list_commands(d, "default", "r1"),
    "datasets": lambda d: datasets.list_datasets(d, "default", cursor="s5"),
    "dags": lambda d: dags.list_dags(d, "default", cursor="d5"),
    "reusable": lambda d: tasks.find_reusable(d, "default", FINGERPRINTS, runs=["r1"]),
    "cache entries": lambda d: reuse.find_entries(d, [("default", "k1"), ("default", "k2")]),
    "what the cache found": lambda d: reuse.get_finding(d, "default", "r1", 0),
    "former tasks": lambda d: reuse.find_former_tasks(d, "default", "a", before="r5", dag_id="d1"),
    "outputs": lambda d: reuse.load_outputs(d, "default", "r1", [0, 1]),
    "old runs": lambda d: expiry.find_old_runs(d, MOMENT),
    "losers": lambda d: expiry.find_losers(d, MOMENT, MOMENT.replace(year=2100)),
    "old keys": lambda d: idempotency.prune_keys(d, MOMENT),
    "unpurged": expiry.find_unpurged,
    "scheduler": lambda d: _ask_as_scheduler(d),
}


def _read_mark(database: Database) -> None:
    with contextlib.suppress(NotFoundError):
        runs.read_mark(database, "default", "r1")


def _ask_as_scheduler(database: Database) -> None:
    from dag_engine.storage import scheduler_store

    for sql in (scheduler_store._FIND_NEW, scheduler_store._FIND_COMMANDS):
        database.read(lambda c, sql=sql: c.exec_driver_sql(sql).all())


@pytest.mark.parametrize("name", READS)
def test_a_list_is_read_straight_from_an_index(file_database: Database, name: str) -> None:
    """No table is read whole and nothing is sorted, so that a million rows cost no more."""
    store = make_store(file_database)
    store.try_lead()
    store.commit(make_full_batch(accept_sample_run(file_database).id))
    store.close()
    statements = note_selects(file_database, lambda: READS[name](file_database))
    assert statements
    with file_database.engine.connect() as connection:
        for statement, values in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            details = [row[3] for row in plan]
            assert _find_whole_scans(details) == [], details
            assert not [d for d in details if "TEMP B-TREE FOR ORDER" in d], (statement, details)


def _find_whole_scans(details: list[str]) -> list[str]:
    """Find what a plan reads whole, but for subqueries, whose own parts stand in it as well."""
    made = {d.partition(" ")[2] for d in details if d.startswith(("CO-ROUTINE", "MATERIALIZE"))}
    scans = [d for d in details if d.startswith("SCAN") and d.removeprefix("SCAN ") not in made]
    return [d for d in scans if "INDEX" not in d and "CONSTANT" not in d]
