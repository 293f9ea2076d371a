"""A restore over an SQLite file of which SQLite can make nothing: the case it is most wanted in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dag_engine.storage import restore, runs
from dag_engine.storage.backup import back_up
from dag_engine.storage.database import Database
from dag_engine.storage.errors import DatabaseInUseError, DatabaseSettingsError
from tests.support.databases import open_migrated, sqlite_url
from tests.support.stored_samples import accept_sample_run, make_store

HOLDS_OPEN = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM runs").fetchall()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_migrated(sqlite_url(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def copied(database: Database, tmp_path: Path) -> str:
    """Copy the database with one run in it, and close it; returns the run."""
    run_id = accept_sample_run(database).id
    back_up(database, tmp_path / "copy", program="0")
    database.close()
    return run_id


def _path(database: Database) -> Path:
    assert database.path is not None
    return database.path


def _overwrite(path: Path, at: int, n_bytes: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * n_bytes)


def _overwrite_all(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "its head overwritten": lambda path: _overwrite(path, 0, 4096),
    "all but its head overwritten": lambda path: _overwrite(path, 4096, path.stat().st_size - 4096),
    "no database at all": _overwrite_all,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_replaced_and_kept(
    database: Database, copied: str, tmp_path: Path, damage: str
) -> None:
    path = _path(database)
    DAMAGES[damage](path)
    path.chmod(0o640)
    damaged = path.read_bytes()
    restored = restore.restore(database, tmp_path / "copy")
    assert restored.damaged is not None
    assert restored.damaged.read_bytes() == damaged
    assert path.stat().st_mode & 0o777 == 0o640
    assert runs.get_run(database, "default", copied).state == "pending"
    assert database.read(lambda c: c.scalar(sa.text("PRAGMA integrity_check"))) == "ok"
    assert not list(tmp_path.glob("*.restoring*"))
    again = restore.restore(database, tmp_path / "copy")
    assert again.damaged is None


def test_damage_that_a_restore_does_not_meet_is_gone_after_it(
    database: Database, copied: str, tmp_path: Path
) -> None:
    path = _path(database)
    size_bytes = path.stat().st_size
    _overwrite(path, size_bytes - 4096, 4096)
    restore.restore(database, tmp_path / "copy")
    assert runs.get_run(database, "default", copied).state == "pending"
    assert database.read(lambda c: c.scalar(sa.text("PRAGMA integrity_check"))) == "ok"


def test_a_damaged_file_stays_where_the_restore_fails(
    database: Database, copied: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _path(database)
    DAMAGES["its head overwritten"](path)
    damaged = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", fail)
        with pytest.raises(DatabaseSettingsError, match=r"No space left.*room on its disk"):
            restore.restore(database, tmp_path / "copy")
    assert path.read_bytes() == damaged
    assert not [other for other in os.listdir(tmp_path) if "damaged" in other or "resto" in other]
    restore.restore(database, tmp_path / "copy")
    assert runs.get_run(database, "default", copied)


def test_a_damaged_file_that_another_process_has_open_is_left_alone(
    database: Database, copied: str, tmp_path: Path
) -> None:
    path = _path(database)
    command = [sys.executable, "-c", HOLDS_OPEN, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        DAMAGES["its head overwritten"](path)
        damaged = path.read_bytes()
        with pytest.raises(DatabaseInUseError, match="another process has"):
            restore.restore(database, tmp_path / "copy")
        assert path.read_bytes() == damaged
        holder.stdin.close()
    restore.restore(database, tmp_path / "copy")
    assert runs.get_run(database, "default", copied)


def test_epoch_stands_above_that_of_a_former_content_that_is_lost(
    database: Database, tmp_path: Path
) -> None:
    back_up(database, tmp_path / "copy", program="0")
    for holder in ("first", "second", "third"):
        store = make_store(database, holder)
        assert store.try_lead()
        former = store.epoch
        store.resign()
        store.close()
    database.close()
    DAMAGES["its head overwritten"](_path(database))
    restore.restore(database, tmp_path / "copy")
    store = make_store(database, "fourth")
    epoch = store.try_lead()
    store.close()
    assert epoch is not None
    assert epoch > former


def test_no_copy_is_made_of_a_damaged_file(database: Database, copied: str, tmp_path: Path) -> None:
    DAMAGES["its head overwritten"](_path(database))
    with pytest.raises(DatabaseSettingsError, match=r"is damaged.*db restore FILE"):
        back_up(database, tmp_path / "second", program="0")
    assert not list(tmp_path.glob("second*"))
