"""`dagengine db` on a real SQLite database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dag_engine.cli.preparation import prepare
from dag_engine.config import Config, DatabaseConfig
from dag_engine.core.plan import Plan, PlannedTask, Reused
from dag_engine.storage import runs, tables
from dag_engine.storage.database import Database
from dag_engine.storage.migrate import upgrade_database
from dag_engine.storage.rows import NewRun
from operator_engine.launcher import HomeLock
from tests.support.databases import fresh_mysql_url, open_migrated
from tests.unit.cli.conftest import Dagengine


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    home.mkdir()
    database = Database(f"sqlite:///{home}/dagengine.db", DatabaseConfig())
    upgrade_database(database)
    yield database
    database.close()


def _run(database: Database, *, age_days: int, reuses: str = "") -> str:
    """Store a run that ended so long ago; its id tells the age as well."""
    task = PlannedTask(index=0, operator="a", algorithm="noop", entry="m:f")
    reused = [Reused(operator="b", run_id=reuses, attempt=1, outputs=[])] if reuses else []
    new = NewRun(
        dag_id="d1",
        dag_version=1,
        plan=Plan(tasks=[task], reused=reused),
        range_mode="from" if reuses else "all",
    )
    run_id = runs.accept_run(database, new).run.id
    aged = f"r{'0' * 15}{age_days:04d}"[:20] if age_days else run_id
    ended = dt.datetime.now(dt.UTC) - dt.timedelta(days=age_days)

    def age(connection: sa.Connection) -> None:
        for table in (tables.run_plans, tables.tasks):
            connection.execute(table.update().where(table.c.run_id == run_id).values(run_id=aged))
        connection.execute(
            tables.runs.update()
            .where(tables.runs.c.run_id == run_id)
            .values(run_id=aged, state="succeeded", ended_at=ended)
        )

    database.run_txn(age)
    return aged


def _run_ids(database: Database) -> set[str]:
    return set(database.read(lambda c: list(c.scalars(sa.select(tables.runs.c.run_id)))))


def test_a_backup_brings_the_old_state_back(
    dagengine: Dagengine, database: Database, home: Path, tmp_path: Path
) -> None:
    first = _run(database, age_days=0)
    copy = tmp_path / "copy.db"
    assert dagengine("db", "backup", str(copy), "--home", str(home)).code == 0
    _run(database, age_days=0)
    again = dagengine("db", "backup", str(copy), "--home", str(home))
    assert (again.code, "exists already" in again.err) == (2, True)
    used = dagengine("db", "restore", str(copy), "--home", str(home))
    assert (used.code, "is in use" in used.err) == (1, True)
    database.close()
    said = dagengine("db", "restore", str(copy), "--home", str(home))
    assert said.code == 0, said.err
    assert "1 runs, 1 tasks" in said.out
    assert _run_ids(database) == {first}


def test_nothing_is_restored_into_a_folder_that_a_service_uses(
    dagengine: Dagengine, home: Path, tmp_path: Path
) -> None:
    lock = HomeLock(home)
    said = dagengine("db", "restore", str(tmp_path / "copy"), "--home", str(home))
    lock.release()
    assert (said.code, "in use by another service" in said.err) == (1, True)


def test_prune_deletes_old_runs_with_their_files_and_keeps_what_newer_ones_use(
    dagengine: Dagengine, database: Database, home: Path
) -> None:
    old, used = _run(database, age_days=40), _run(database, age_days=41)
    young = _run(database, age_days=0, reuses=used)
    folders = {}
    for run_id in (old, used, young):
        folders[run_id] = [home / "artifacts" / kind / run_id for kind in ("runs", "logs")]
        for folder in folders[run_id]:
            folder.mkdir(parents=True)
    said = dagengine("db", "prune", "--older-than", "30d", "--home", str(home))
    assert said.code == 0, said.err
    assert said.out.startswith("1 runs that ended before ")
    assert "1 are kept, since newer runs use their results." in said.out
    assert _run_ids(database) == {used, young}
    there = {run_id: all(map(Path.exists, paths)) for run_id, paths in folders.items()}
    assert there == {old: False, used: True, young: True}


@pytest.mark.parametrize("age", ["", "30", "d", "3 months", "-1d", "999999d"])
def test_an_age_that_is_none_is_refused_with_examples(dagengine: Dagengine, age: str) -> None:
    said = dagengine("db", "prune", "--older-than", age)
    assert said.code == 2
    assert "12h, 30d, 8w" in said.err


def test_a_copy_that_is_none_is_refused(
    dagengine: Dagengine, database: Database, home: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database at all")
    said = dagengine("db", "restore", str(broken), "--home", str(home))
    assert said.code != 0
    assert "cannot be used" in said.err


def test_a_copy_that_cannot_be_written_is_told(
    dagengine: Dagengine, database: Database, home: Path, tmp_path: Path
) -> None:
    said = dagengine("db", "backup", str(tmp_path / ("x" * 250)), "--home", str(home))
    assert (said.code, "The copy cannot be written: " in said.err) == (1, True)


def test_a_damaged_file_is_told_kept_and_replaced(
    dagengine: Dagengine, database: Database, home: Path, tmp_path: Path
) -> None:
    run_id, copy = _run(database, age_days=0), tmp_path / "copy"
    assert dagengine("db", "backup", str(copy), "--home", str(home)).code == 0
    database.close()
    (home / "dagengine.db").write_bytes(b"no database" * 1000)
    second = dagengine("db", "backup", str(tmp_path / "second"), "--home", str(home))
    assert (second.code, "is damaged" in second.err) == (1, True)
    said = dagengine("db", "restore", str(copy), "--home", str(home))
    assert said.code == 0, said.err
    assert f"damaged and is kept as {home}/dagengine.db.damaged-" in said.out
    assert _run_ids(database) == {run_id}


def _mark_as_broken_off(database: Database) -> None:
    database.run_txn(
        lambda c: c.execute(sa.text("UPDATE alembic_version SET version_num = 'restoring'"))
    )


def test_a_restore_that_was_broken_off_is_told_with_its_cure(
    dagengine: Dagengine, database: Database, home: Path
) -> None:
    _mark_as_broken_off(database)
    said = dagengine("db", "check", "--home", str(home))
    assert said.code == 1
    assert "broken off" in said.out
    assert "Repeat `dagengine db restore FILE`." in said.out


@pytest.mark.mysql
def test_a_start_after_a_restore_that_was_broken_off_names_the_cure(tmp_path: Path) -> None:
    with fresh_mysql_url() as url:
        database = open_migrated(url)
        _mark_as_broken_off(database)
        database.close()
        found = prepare(
            Config(home=tmp_path, database=DatabaseConfig(url=url), store_url=f"file://{tmp_path}")
        )
    assert "Repeat `dagengine db restore FILE`." in found.problem
    assert "db upgrade" not in found.problem + found.cure


def test_prune_tells_of_files_that_cannot_be_removed(
    dagengine: Dagengine, database: Database, home: Path
) -> None:
    place = home / "artifacts" / "runs" / _run(database, age_days=40)
    place.parent.mkdir(parents=True)
    place.write_text("no folder")
    said = dagengine("db", "prune", "--older-than", "30d", "--home", str(home))
    assert said.code == 1
    assert "0 runs that ended before " in said.out
    assert "1 folders cannot be removed" in said.out
