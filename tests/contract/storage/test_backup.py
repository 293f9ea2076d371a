"""Copies of either kind of database, restored into either kind."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import resource
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from dag_engine.config import DatabaseConfig
from dag_engine.core.changes import Batch, StaleReport
from dag_engine.storage import (
    backup_file,
    bulk,
    commands,
    datasets,
    expiry,
    migrate,
    restore,
    reuse,
    runs,
    schema,
    secrets,
    tables,
    tokens,
)
from dag_engine.storage.backup import back_up
from dag_engine.storage.backup_file import BackupReader, BackupWriter, Head, verify
from dag_engine.storage.database import Database
from dag_engine.storage.errors import (
    BackupUnusableError,
    DatabaseInUseError,
    DatabaseSettingsError,
    SchemaOutdatedError,
)
from dag_engine.storage.rows import IdempotencyKey, NewDatasetVersion
from dag_engine.storage.secret_rows import SealedValue, SecretPlace
from tests.support.databases import (
    DIALECTS,
    expire_lease,
    fresh_mysql_url,
    open_migrated,
    sqlite_url,
)
from tests.support.stored_samples import (
    MOMENT,
    accept_sample_run,
    make_full_batch,
    make_registration,
    make_run_row,
    make_store,
    store_sample_dag,
)

Open = Callable[..., Database]
HEAD = Head(schema=schema.SCHEMA_REVISION, made_at=MOMENT, program="0", dialect="sqlite")
_SET_ANEW = {"leader", "tasks", "attempts", "runs", "events"}
"""What a restore changes for runs that are not over."""


@pytest.fixture
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Make the URL of an empty database of a dialect."""
    with contextlib.ExitStack() as stack:
        numbers = iter(range(10))

        def make(dialect: str) -> str:
            if dialect == "mysql":
                return stack.enter_context(fresh_mysql_url())
            folder = tmp_path / f"database-{next(numbers)}"
            folder.mkdir()
            return sqlite_url(folder)

        yield make


@pytest.fixture
def open_new(urls: Callable[[str], str]) -> Iterator[Open]:
    """Open an empty database of a dialect, with tables unless told otherwise."""
    opened: list[Database] = []

    def make(dialect: str, *, is_migrated: bool = True) -> Database:
        url = urls(dialect)
        database = open_migrated(url) if is_migrated else Database(url, DatabaseConfig(url=url))
        opened.append(database)
        return database

    yield make
    for database in opened:
        database.close()


def _fill(database: Database) -> dict[str, str]:
    """Store something in every table; returns the ids of a run that is over and one that runs."""
    store_sample_dag(database)
    key = IdempotencyKey("key", "start_run", "a" * 64)
    ids = {name: accept_sample_run(database).id for name in ("over", "running")}
    ids["pending"] = accept_sample_run(database, idempotency_key=key).id
    store = make_store(database)
    store.try_lead()
    store.save_registration(make_registration())
    for name in ("over", "running"):
        store.commit(make_full_batch(ids[name]))
    ended = make_run_row(ids["over"], "failed", ended_at=MOMENT, last_seq=2)
    store.commit(backup_batch(ended))
    held = {(ids["running"], ids["over"])}
    assert reuse.hold_sources(database, "default", held) == held
    store.commit(Batch(stale_reports=[StaleReport("r1.0.1", b'{"x": "\xe5\xb9\xb4"}')]))
    store.resign()
    store.close()
    tokens.add_token(database, hashlib.sha256(b"t").hexdigest(), role="admin", name="管")
    _fill_beside_the_runs(database, ids["over"], ids["running"])
    return ids


def _fill_beside_the_runs(database: Database, over: str, running: str) -> None:
    """Store what is not written with a run or by the scheduler of its own accord."""
    commands.add_command(database, "default", running, "pause")
    assert expiry.expire(database, [over], "logs") == [over]
    place = SecretPlace("default", "secret", "api_key")
    value = SealedValue(place=place, key_id="key-1", sealed=b"\x01sealed\xff\0")
    secrets.put_secret(database, value)
    dataset_id, version = datasets.reserve_version(database, "default", "数据", name="客户")
    datasets.add_version(
        database,
        NewDatasetVersion(
            dataset_id=dataset_id, version=version, uri="file:///data/v1/a.csv", options={"列": 1}
        ),
    )


def backup_batch(row: Any) -> Any:
    return Batch(runs={row.run_id: row})


def _read_all(path: Path) -> dict[str, list[list[Any]]]:
    found: dict[str, list[list[Any]]] = {}
    for frame in BackupReader(path).read_rows():
        found.setdefault(frame.table, []).extend(frame.rows)
    return found


def _copy(database: Database, path: Path) -> backup_file.Backup:
    return back_up(database, path, program="0")


@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize("source", DIALECTS)
def test_a_copy_brings_everything_back_into_either_kind_of_database(
    open_new: Open, tmp_path: Path, source: str, target: str
) -> None:
    database = open_new(source)
    ids = _fill(database)
    made = _copy(database, tmp_path / "one")
    assert made.n_rows["runs"] == 3
    assert all(made.n_rows.values()), made.n_rows
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600
    other = open_new(target, is_migrated=False)
    restored = restore.restore(other, tmp_path / "one")
    assert restored.backup == made
    assert schema.is_schema_current(other)
    _copy(other, tmp_path / "two")
    before, after = _read_all(tmp_path / "one"), _read_all(tmp_path / "two")
    assert before.keys() == after.keys()
    for table in before.keys() - _SET_ANEW:
        assert before[table] == after[table], table
    over = runs.get_run(other, "default", ids["over"])
    assert over == runs.get_run(database, "default", ids["over"])
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_not_over_goes_on_under_numbers_that_nobody_gave_out(
    open_new: Open, tmp_path: Path, dialect: str
) -> None:
    database = open_new(dialect)
    ids = _fill(database)
    _copy(database, tmp_path / "one")
    restored = restore.restore(database, tmp_path / "one").afterlife
    assert restored.n_open_runs == 2
    assert restored.step >= 1000
    query = sa.select(tables.tasks.c.run_id, tables.tasks.c.state, tables.tasks.c.attempt)
    attempts = database.read(lambda c: {(r, s): n for r, s, n in c.execute(query)})
    assert attempts == {
        (ids["over"], "succeeded"): 1,
        (ids["over"], "pending"): 0,
        (ids["running"], "succeeded"): 1,
        (ids["running"], "pending"): restored.step,
        (ids["pending"], "pending"): restored.step,
    }
    last = sa.select(tables.events).where(tables.events.c.run_id == ids["running"])
    event = database.read(lambda c: c.execute(last).all())[-1]
    run = runs.get_run(database, "default", ids["running"])
    assert (event.kind, event.seq, event.attempt) == ("restored", run.last_seq, restored.step)
    with contextlib.closing(make_store(database, "next")) as store:
        loaded = store.load_runs([ids["running"], ids["pending"]])
    assert {task.attempt for run in loaded for task in run.tasks if task.state == "pending"} == {
        restored.step
    }, "who leads next goes on from these numbers, also in a run that nobody had taken up"


def test_epoch_stands_above_that_of_the_copy_and_of_the_content_that_was_replaced(
    open_new: Open, tmp_path: Path
) -> None:
    database = open_new("sqlite")
    _fill(database)
    _copy(database, tmp_path / "one")
    for holder in ("second", "third"):
        store = make_store(database, holder)
        expire_lease(database)
        assert store.try_lead()
        former = store.epoch
        store.resign()
        store.close()
    restore.restore(database, tmp_path / "one")
    store = make_store(database, "fourth")
    epoch = store.try_lead()
    store.close()
    assert epoch is not None
    assert epoch > former + 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_copy_is_of_one_moment_whatever_is_written_meanwhile(
    open_new: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    database = open_new(dialect)
    first = accept_sample_run(database).id
    write_table = BackupWriter.write_table

    def write_slowly(self: BackupWriter, table: str, *rest: Any) -> None:
        accept_sample_run(database)  # a run with its plan and tasks, before every table
        write_table(self, table, *rest)

    monkeypatch.setattr(BackupWriter, "write_table", write_slowly)
    _copy(database, tmp_path / "one")
    found = _read_all(tmp_path / "one")
    assert [row[0] for row in found["runs"]] == [first]
    assert {row[0] for row in found["tasks"]} == {first}
    assert {row[0] for row in found["run_plans"]} == {first}


def test_a_database_in_use_is_left_alone(open_new: Open, tmp_path: Path) -> None:
    database = open_new("sqlite")
    _copy(database, tmp_path / "one")
    accept_sample_run(database)
    store = make_store(database)
    store.try_lead()
    with pytest.raises(DatabaseInUseError, match="the scheduler first leads"):
        restore.restore(database, tmp_path / "one")
    store.resign()
    with pytest.raises(DatabaseInUseError, match="another process has"):
        restore.restore(database, tmp_path / "one")
    store.close()
    restore.restore(database, tmp_path / "one")
    assert runs.count_runs(database) == {}


@pytest.mark.mysql
def test_a_server_names_the_connections_that_use_the_database(
    open_new: Open, tmp_path: Path
) -> None:
    database = open_new("mysql")
    _copy(database, tmp_path / "one")
    user = database.connector.connect()
    with pytest.raises(DatabaseInUseError, match=f"connection {user.thread_id()} of "):
        restore.restore(database, tmp_path / "one")
    user.close()


@pytest.mark.parametrize("content", [None, b"", b"no database" * 1000, b"dagengine backup 1\n"])
def test_what_is_no_copy_is_refused(open_new: Open, tmp_path: Path, content: bytes | None) -> None:
    copy = tmp_path / "bad"
    if content is not None:
        copy.write_bytes(content)
    with pytest.raises(BackupUnusableError, match="cannot be used"):
        restore.restore(open_new("sqlite"), copy)


def test_a_copy_that_was_cut_is_refused_wherever_it_was_cut(open_new: Open, tmp_path: Path) -> None:
    database = open_new("sqlite")
    _fill(database)
    whole = tmp_path / "whole"
    _copy(database, whole)
    data = whole.read_bytes()
    for length in [*range(0, len(data), max(1, len(data) // 40)), len(data) - 1]:
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(BackupUnusableError):
            verify(tmp_path / "cut")


def test_a_changed_row_is_found_by_the_digest_before_anything_is_replaced(
    open_new: Open, tmp_path: Path
) -> None:
    database = open_new("sqlite")
    ids = _fill(database)
    _copy(database, tmp_path / "one")
    (tmp_path / "changed").write_bytes(_change_a_token((tmp_path / "one").read_bytes()))
    with pytest.raises(BackupUnusableError, match="digest"):
        restore.restore(database, tmp_path / "changed")
    assert runs.get_run(database, "default", ids["over"]).state == "failed"


def _change_a_token(data: bytes) -> bytes:
    """Make a token of a copy another one, in frames that are good by themselves."""
    at = len(b"dagengine backup 1\n")
    out = bytearray(data[:at])
    while at < len(data) - 32:
        length = int.from_bytes(data[at : at + 4], "big")
        frame = msgspec.msgpack.decode(zlib.decompress(data[at + 4 : at + 4 + length]))
        if frame.get("table") == "tokens":
            frame["rows"][0][frame["columns"].index("token_hash")] = "0" * 64
        packed = zlib.compress(msgspec.msgpack.encode(frame))
        out += len(packed).to_bytes(4, "big") + packed
        at += 4 + length
    return bytes(out) + data[-32:]


def test_a_copy_of_a_newer_version_is_refused(open_new: Open, tmp_path: Path) -> None:
    head = Head(schema="9999", made_at=dt.datetime.now(dt.UTC), program="9.1", dialect="sqlite")
    with BackupWriter(tmp_path / "new") as writer:
        writer.write_head(head)
        writer.finish(head)
    with pytest.raises(BackupUnusableError, match=r"schema 9999 of version 9\.1"):
        restore.restore(open_new("sqlite"), tmp_path / "new")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_copy_of_an_older_version_is_upgraded(
    open_new: Open, tmp_path: Path, dialect: str
) -> None:
    old = open_new(dialect, is_migrated=False)
    migrate.make_database(old)
    with old.engine.connect() as connection:
        migrate.run_migrations(connection, migrate.list_revisions()[0])
    run_id = accept_sample_run(old).id
    assert _copy(old, tmp_path / "old").head.schema == "0001"
    other = open_new(dialect, is_migrated=False)
    restore.restore(other, tmp_path / "old")
    assert schema.is_schema_current(other)
    assert runs.get_run(other, "default", run_id).n_tasks == 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_restore_that_is_broken_off_leaves_the_old_content_or_a_mark_and_can_be_repeated(
    open_new: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    database = open_new(dialect)
    kept = _fill(database)["over"]
    _copy(database, tmp_path / "one")
    added = accept_sample_run(database).id
    with monkeypatch.context() as patch:
        patch.setattr(restore, "begin_anew", _break_off)
        with pytest.raises(KeyboardInterrupt):
            restore.restore(database, tmp_path / "one")
    if dialect == "sqlite":
        assert runs.get_run(database, "default", added).state == "pending"
    else:
        with pytest.raises(SchemaOutdatedError, match=r"broken off.*db restore FILE"):
            schema.require_schema(database)
        with pytest.raises(SchemaOutdatedError, match="broken off"):
            migrate.upgrade_database(database)
        with pytest.raises(DatabaseSettingsError, match="not whole"):
            _copy(database, tmp_path / "two")
    restore.restore(database, tmp_path / "one")
    assert runs.get_run(database, "default", kept).state == "failed"
    assert runs.count_runs(database) == {"failed": 1, "pending": 1, "running": 1}
    names = {path.name for path in tmp_path.rglob("*.restoring*")}
    assert not names


def _break_off(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_copy_that_fails_leaves_no_file(
    open_new: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_new("sqlite")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(BackupWriter, "write_table", fail)
    with pytest.raises(OSError, match="No space left"):
        _copy(database, tmp_path / "one")
    assert not list(tmp_path.glob("one*"))


def test_every_table_is_copied_but_signs_of_life(open_new: Open, tmp_path: Path) -> None:
    made = _copy(open_new("sqlite"), tmp_path / "one")
    assert made.n_rows.keys() == tables.metadata.tables.keys() - {"components"}


def test_of_two_copies_into_one_file_at_once_each_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "one"
    with BackupWriter(target) as first, BackupWriter(target) as second:
        for writer in (first, second):
            writer.write_head(HEAD)
        first.write_table("tokens", ["token_id"], iter([["a"]]))
        made = first.finish(HEAD)
        assert verify(target) == made
        second.write_table("tokens", ["token_id"], iter([["b"], ["c"]]))
        made = second.finish(HEAD)
        assert verify(target) == made
    assert os.listdir(tmp_path) == ["one"]


def test_a_copy_whose_last_words_find_no_room_leaves_no_file(tmp_path: Path) -> None:
    """What is held back is written at the close, which fails just as well."""

    def write() -> None:
        with BackupWriter(tmp_path / "one") as writer:
            writer.write_head(HEAD)
            writer.finish(HEAD)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("n_rows", [0, 1])
def test_a_table_that_is_not_ours_is_refused(tmp_path: Path, n_rows: int) -> None:
    """Its name would stand in a statement: in that of its rows, or in that which counts them."""
    with BackupWriter(tmp_path / "one") as writer:
        writer.write_head(HEAD)
        writer.write_table("runs; DROP TABLE runs", ["run_id"], iter([["r"]] * n_rows))
        writer.finish(HEAD)
    with pytest.raises(BackupUnusableError, match="a table 'runs; DROP TABLE runs'"):
        verify(tmp_path / "one")


def test_a_restore_holds_one_statement_for_each_table(
    open_new: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_file, "_FRAME_ROWS", 1)
    database = open_new("sqlite")
    _fill(database)
    made = _copy(database, tmp_path / "one")
    bulk._compiled.cache_clear()
    restore.restore(database, tmp_path / "one")
    n_filled = sum(n_rows > 0 for n_rows in made.n_rows.values())
    assert bulk._compiled.cache_info().currsize == n_filled
