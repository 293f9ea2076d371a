"""Copies, the deletion of old runs, and that lists read straight from an index."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dag_engine.core.changes import Batch
from dag_engine.storage import commands, dags, events, maintenance, runs, tables, tasks
from dag_engine.storage.database import Database
from dag_engine.storage.errors import DatabaseSettingsError, NotFoundError
from dag_engine.storage.scheduler_store import SchedulerStore
from tests.support.databases import expire_lease, open_migrated, sqlite_url
from tests.support.stored_samples import (
    MOMENT,
    accept_sample_run,
    make_full_batch,
    make_plan,
    make_run_row,
    make_store,
)


@pytest.fixture
def file_database(tmp_path: Path) -> Any:
    database = open_migrated(sqlite_url(tmp_path))
    yield database
    database.close()


def test_a_copy_brings_everything_back(file_database: Database, tmp_path: Path) -> None:
    kept = accept_sample_run(file_database).id
    maintenance.back_up(file_database, tmp_path / "copy.db")
    lost = accept_sample_run(file_database).id
    maintenance.restore(file_database, tmp_path / "copy.db")
    assert runs.get_run(file_database, "default", kept).n_tasks == 2
    with pytest.raises(NotFoundError):
        runs.get_run(file_database, "default", lost)
    assert not list(tmp_path.glob("*.partial"))


def test_a_copy_is_not_put_under_a_scheduler_at_work(
    file_database: Database, tmp_path: Path
) -> None:
    maintenance.back_up(file_database, tmp_path / "copy.db")
    store = make_store(file_database)
    store.try_lead()
    with pytest.raises(DatabaseSettingsError, match="Stop all services"):
        maintenance.restore(file_database, tmp_path / "copy.db")
    expire_lease(file_database)
    maintenance.restore(file_database, tmp_path / "copy.db")
    store.close()


@pytest.mark.parametrize("content", [None, b"", b"no database" * 1000])
def test_what_is_no_copy_is_refused(
    file_database: Database, tmp_path: Path, content: bytes | None
) -> None:
    copy = tmp_path / "bad.db"
    if content is not None:
        copy.write_bytes(content)
    with pytest.raises(DatabaseSettingsError, match="cannot be used"):
        maintenance.restore(file_database, copy)


@pytest.mark.mysql
def test_a_servers_copies_are_left_to_its_own_programs(
    server_database: Database, tmp_path: Path
) -> None:
    with pytest.raises(DatabaseSettingsError, match="mariadb-dump"):
        maintenance.back_up(server_database, tmp_path / "copy.db")


def test_runs_that_are_over_are_deleted_with_all_their_rows(
    database: Database, leader: SchedulerStore
) -> None:
    ended, live = (accept_sample_run(database).id for _ in range(2))
    for run_id in (ended, live):
        leader.commit(make_full_batch(run_id))
        commands.add_command(database, "default", run_id, "pause")
    moment = dt.datetime.now(dt.UTC)
    leader.commit(Batch(runs={ended: make_run_row(ended, "failed", ended_at=moment)}))
    assert maintenance.find_old_runs(database, moment - dt.timedelta(days=1)) == []
    later = moment + dt.timedelta(days=1)
    assert maintenance.find_old_runs(database, later) == [ended]
    assert maintenance.delete_runs(database, [ended, live, "r-unknown"]) == 1

    def count(connection: sa.Connection) -> dict[str, set[str]]:
        return {
            table.name: set(connection.scalars(sa.select(table.c.run_id)))
            for table in tables.metadata.sorted_tables
            if "run_id" in table.c
        }

    left = database.read(count)
    assert len(left) == 7
    assert set(map(frozenset, left.values())) == {frozenset({live})}


def test_old_reports_are_forgotten(database: Database, leader: SchedulerStore) -> None:
    leader.record_stale_reports([("r1.0.1", b"{}")])
    assert maintenance.prune_stale_reports(database, MOMENT.replace(year=2000)) == 0
    assert maintenance.prune_stale_reports(database, MOMENT.replace(year=2100)) == 1


# --- speed with many rows -------------------------------------------------------------------------


FINGERPRINTS = [task.fingerprint for task in make_plan(2).tasks]
READS: dict[str, Callable[[Database], Any]] = {
    "runs": lambda d: runs.list_runs(d, "default", cursor="r5"),
    "runs by state": lambda d: runs.list_runs(d, "default", states=["failed", "running"]),
    "runs of a dag": lambda d: runs.list_runs(d, "default", dag_id="d1"),
    "run": lambda d: runs.read_marks(d, ["r1", "r2"]),
    "open runs": runs.count_open,
    "tasks": lambda d: tasks.list_tasks(d, "default", "r1", states=["failed"], cursor="5"),
    "unfinished": lambda d: tasks.list_unfinished_operators(d, "default", "r1"),
    "attempts": lambda d: tasks.list_attempts(d, "default", "r1", 1),
    "events": lambda d: events.list_events_after(d, "default", "r1", 5),
    "commands": lambda d: commands.list_commands(d, "default", "r1"),
    "dags": lambda d: dags.list_dags(d, "default", cursor="d5"),
    "reusable": lambda d: tasks.find_reusable(d, "default", FINGERPRINTS, base_run="r1"),
    "old runs": lambda d: maintenance.find_old_runs(d, MOMENT),
    "scheduler": lambda d: _ask_as_scheduler(d),
}


def _ask_as_scheduler(database: Database) -> None:
    from dag_engine.storage import scheduler_store

    for sql in (scheduler_store._FIND_NEW, scheduler_store._FIND_COMMANDS):
        database.read(lambda c, sql=sql: c.exec_driver_sql(sql).all())


@pytest.mark.parametrize("name", READS)
def test_a_list_is_read_straight_from_an_index(file_database: Database, name: str) -> None:
    """No table is read whole and nothing is sorted, so that a million rows cost no more."""
    statements: list[tuple[str, Any]] = []

    def note(
        connection: Any, cursor: Any, statement: str, values: Any, context: Any, many: bool
    ) -> None:
        if statement.startswith("SELECT"):
            statements.append((statement, values))

    store = make_store(file_database)
    store.try_lead()
    store.commit(make_full_batch(accept_sample_run(file_database).id))
    store.close()
    sa.event.listen(file_database.engine, "before_cursor_execute", note)
    READS[name](file_database)
    sa.event.remove(file_database.engine, "before_cursor_execute", note)
    assert statements
    with file_database.engine.connect() as connection:
        for statement, values in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            details = [row[3] for row in plan]
            assert not [d for d in details if d.startswith("SCAN") and "INDEX" not in d], details
            assert not [d for d in details if "TEMP B-TREE FOR ORDER" in d], (statement, details)
