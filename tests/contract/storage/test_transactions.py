"""The one helper through which transactions are made: retry, deadline, isolation, text."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.config import DatabaseConfig
from dag_engine.storage import tables, tokens
from dag_engine.storage.database import Database
from dag_engine.storage.errors import DatabaseUnavailableError, ForkedDatabaseError
from tests.support.databases import lost_answer, open_migrated, sqlite_url
from tests.support.stored_samples import accept_sample_run
from tests.support.waiting import wait_until

_sets = tables.datasets
MOMENT = dt.datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=dt.UTC)


def insert(connection: Connection, dataset_id: str, name: str = "") -> None:
    connection.execute(
        _sets.insert().values(
            dataset_id=dataset_id,
            namespace="default",
            name=name,
            created_at=MOMENT,
            updated_at=MOMENT,
        )
    )


def list_ids(database: Database) -> list[str]:
    return sorted(database.read(lambda c: list(c.scalars(sa.select(_sets.c.dataset_id)))))


@pytest.mark.parametrize(
    "text",
    [
        "信用违约",
        "😀👨‍👩‍👧",
        'it\'s \\ "quoted" %s %% :x ? ;--',
        " leading",
        "a\tb\r\nc",
        "é",
        "ſ",
        "0",
    ],
)
def test_text_and_moments_come_back_as_they_went_in(database: Database, text: str) -> None:
    database.run_txn(lambda c: insert(c, text, name=text))
    [row] = database.read(lambda c: c.execute(sa.select(_sets)).all())
    assert (row.dataset_id, row.name, row.created_at) == (text, text, MOMENT)


def test_keys_that_only_look_alike_are_different(database: Database) -> None:
    alike = ["run", "Run", "rün", "ｒｕｎ", "1", "01"]
    for key in alike:
        database.run_txn(lambda c, key=key: insert(c, key))
    assert list_ids(database) == sorted(alike)


def test_a_failed_transaction_leaves_no_trace(database: Database) -> None:
    def work(connection: Connection) -> None:
        insert(connection, "a")
        raise KeyError

    with pytest.raises(KeyError):
        database.run_txn(work)
    assert list_ids(database) == []


def test_a_read_sees_what_was_committed_meanwhile(database: Database) -> None:
    """READ COMMITTED: no statement reads from an older snapshot than its own begin."""

    def work(connection: Connection) -> list[int]:
        query = sa.select(sa.func.count()).select_from(_sets)
        before = connection.scalar(query)
        database.run_txn(lambda other: insert(other, "a"))
        return [before or 0, connection.scalar(query) or 0]

    assert database.read(work) == [0, 1]


def test_a_transaction_that_lost_a_deadlock_is_repeated_whole(database: Database) -> None:
    """Two threads update two rows in opposite orders, again and again."""
    for key in ("a", "b"):
        database.run_txn(lambda c, key=key: insert(c, key))
    failures: list[Exception] = []

    def add(connection: Connection, key: str) -> None:
        connection.execute(
            _sets.update()
            .where(_sets.c.dataset_id == key)
            .values(n_versions=_sets.c.n_versions + 1)
        )

    def hammer(first: str, second: str) -> None:
        try:
            for _ in range(40):
                database.run_txn(lambda c: (add(c, first), add(c, second)), deadline_s=30.0)
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=hammer, args=pair) for pair in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    counts = database.read(lambda c: list(c.scalars(sa.select(_sets.c.n_versions))))
    assert counts == [80, 80]


@pytest.mark.mysql
def test_the_session_has_the_settings_that_the_promises_need(server_database: Database) -> None:
    with server_database.connector.connect() as raw, raw.cursor() as cursor:
        cursor.execute("SHOW SESSION VARIABLES")
        found = dict(cursor.fetchall())
    isolation = found.get("tx_isolation") or found["transaction_isolation"]
    assert isolation == "READ-COMMITTED"
    assert found["time_zone"] == "+00:00"
    assert found["character_set_connection"] == "utf8mb4"
    assert "STRICT_TRANS_TABLES" in found["sql_mode"]
    assert found["innodb_lock_wait_timeout"] == "2"


@pytest.mark.mysql
def test_the_locks_of_a_client_that_vanished_are_given_back(
    server_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server_database.connector.connect() as raw, raw.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        if "MariaDB" not in cursor.fetchone()[0]:
            pytest.skip("MySQL cannot be told")
    monkeypatch.setattr("dag_engine.storage.connections._IDLE_WRITE_S", 1)
    vanished = server_database.connector.connect()
    with vanished.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute(
            "INSERT INTO datasets (dataset_id, namespace, name, created_at, updated_at)"
            " VALUES ('d1', 'default', '', '2026-01-01', '2026-01-01')"
        )
    server_database.run_txn(lambda c: insert(c, "d1"), work_s=10.0)
    assert list_ids(server_database) == ["d1"]
    vanished.close()


def test_sqlite_has_the_settings_that_the_promises_need(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}", DatabaseConfig())
    with database.engine.connect() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]
    database.close()


@pytest.mark.mysql
def test_connections_killed_in_the_pool_are_replaced_unseen(server_database: Database) -> None:
    sql = "SELECT ID FROM information_schema.processlist WHERE DB = DATABASE()"
    numbers = server_database.read(lambda c: list(c.exec_driver_sql(sql).scalars()))
    with server_database.connector.connect() as raw:
        for number in numbers:
            raw.query(f"KILL {number}")
    accept_sample_run(server_database)
    assert tokens.list_digests(server_database) == []


def test_a_locked_database_is_called_unavailable_at_the_deadline(database: Database) -> None:
    database.run_txn(lambda c: insert(c, "a"))
    raw = database.connector.connect()
    if database.write_lock is not None:
        blocker = sqlite3.connect(database.path or "", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
    else:
        blocker = None
        raw.query("START TRANSACTION")
        raw.query("UPDATE datasets SET name = 'x'")
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailableError):
        database.run_txn(lambda c: c.execute(_sets.update().values(name="y")), deadline_s=0.5)
    assert time.monotonic() - started < 4.0
    raw.close()
    if blocker is not None:
        blocker.close()


HOLD_LOCK = """
import sys, time
from collections.abc import Iterator
from pathlib import Path
from dag_engine.storage.write_lock import WriteLock
lock = WriteLock(Path(sys.argv[1]))
assert lock.acquire(5.0)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_process_that_holds_sqlites_write_lock_only_costs_time(tmp_path: Path) -> None:
    database = open_migrated(sqlite_url(tmp_path))
    assert database.write_lock is not None
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(database.write_lock.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert database.write_lock.find_holder() == holder.pid
    with pytest.raises(DatabaseUnavailableError):
        database.run_txn(lambda c: insert(c, "a"), deadline_s=0.3)
    assert list_ids(database) == [], "readers are not held up"
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    database.run_txn(lambda c: insert(c, "a"))
    wait_until(
        lambda: database.write_lock is not None and database.write_lock.find_holder() is None
    )
    database.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word, like one that was stopped."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def assert_unavailable_within_2_s(port: int) -> None:
    url = f"mysql+pymysql://root@127.0.0.1:{port}/x"
    database = Database(url, DatabaseConfig(url=url))
    for call in (
        lambda: database.read(lambda c: c.exec_driver_sql("SELECT 1")),
        lambda: accept_sample_run(database),
        lambda: tokens.list_digests(database),
    ):
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailableError, match="cannot be used just now"):
            call()
        assert time.monotonic() - started < 3.0, "1.8 s, and some for a busy machine"
    database.close()


def test_a_server_that_is_not_there_is_called_unavailable_within_2_s() -> None:
    assert_unavailable_within_2_s(1)


def test_a_server_that_hangs_is_called_unavailable_within_2_s(silent_port: int) -> None:
    assert_unavailable_within_2_s(silent_port)


@pytest.mark.mysql
def test_long_work_may_take_longer_than_the_deadline_for_an_absent_database(
    server_database: Database,
) -> None:
    def work(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT SLEEP(0.6)")

    for call in (server_database.run_txn, server_database.read):
        call(work, deadline_s=0.3, work_s=20.0)
        with pytest.raises(DatabaseUnavailableError):
            call(work, deadline_s=0.3)


def test_a_database_carried_over_a_fork_refuses_to_work(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: real + 1)
    with pytest.raises(ForkedDatabaseError):
        database.read(lambda c: None)
    with pytest.raises(ForkedDatabaseError):
        database.run_txn(lambda c: None)


def test_a_commit_whose_answer_is_lost_is_repeated_with_the_whole_function(
    database: Database,
) -> None:
    """An event hook raises after the real COMMIT, as a proxy that drops the answer would."""
    calls = itertools.count(1)
    is_armed = [True]

    def lose(connection: Connection, cursor: object, statement: str, *rest: object) -> None:
        if statement == "COMMIT" and is_armed.pop():
            is_armed.append(False)
            raise lost_answer(database)

    numbers: list[int] = []

    def work(connection: Connection) -> int:
        numbers.append(next(calls))
        key = f"only-{len(list_ids(database))}"
        insert(connection, key)
        return numbers[-1]

    sa.event.listen(database.engine, "after_cursor_execute", lose)
    try:
        is_armed.append(True)
        assert database.run_txn(work) == 2
    finally:
        sa.event.remove(database.engine, "after_cursor_execute", lose)
    assert list_ids(database) == ["only-0", "only-1"], "so the functions of the storage look first"
