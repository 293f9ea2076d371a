"""Connections stay out of the pool between their uses, and nobody is the worse for it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.pool import QueuePool

from dag_engine.storage import kept_connections
from dag_engine.storage.database import DEADLINE_S, Database
from dag_engine.storage.errors import NotFoundError


@pytest.fixture
def small(database: Database) -> Iterator[Database]:
    """The same database with a pool of one connection, and one more where it is needed."""
    opened = Database(database.url, replace(database.config, pool_size=1))
    yield opened
    opened.close()


def identify(connection: Connection) -> int:
    return id(connection.connection.dbapi_connection)


def count_taken(database: Database) -> int:
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


def test_one_connection_serves_reads_and_writes_one_after_the_other(database: Database) -> None:
    used = {database.read(identify), database.run_txn(identify), database.read(identify)}
    assert len(used) == 1
    assert count_taken(database) == 1


def test_no_more_are_kept_than_the_pool_has(small: Database) -> None:
    both = threading.Barrier(2)

    def read(connection: Connection) -> None:
        connection.scalar(sa.text("SELECT 1"))
        both.wait(10)

    readers = [threading.Thread(target=small.read, args=(read,)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert count_taken(small) == 1


def test_whoever_waits_for_the_pool_is_given_what_becomes_free(small: Database) -> None:
    """Two hold all connections; the third gets one once there is one, not at its deadline."""
    first_may_end, may_end, n_held = threading.Event(), threading.Event(), threading.Semaphore(0)

    def hold(until: threading.Event) -> None:
        def work(_: Connection) -> None:
            n_held.release()
            until.wait(10)

        small.read(work)

    holders = [threading.Thread(target=hold, args=(end,)) for end in (first_may_end, may_end)]
    for holder in holders:
        holder.start()
        assert n_held.acquire(timeout=10)
    took_s: list[float] = []

    def read_late() -> None:
        began = time.monotonic()
        small.read(identify, deadline_s=2 * DEADLINE_S)
        took_s.append(time.monotonic() - began)

    late = threading.Thread(target=read_late)
    late.start()
    while not small._kept._n_waiting:
        time.sleep(0.001)
    first_may_end.set()
    late.join()
    may_end.set()
    for holder in holders:
        holder.join()
    assert took_s[0] < DEADLINE_S


def test_what_failed_in_a_read_is_not_used_again(small: Database) -> None:
    def fail(connection: Connection) -> None:
        connection.scalar(sa.text("SELECT 1"))
        raise NotFoundError("run", "r1")

    with pytest.raises(NotFoundError):
        small.read(fail)
    assert count_taken(small) == 0
    assert small.read(lambda c: c.scalar(sa.text("SELECT 1"))) == 1


def test_an_old_one_goes_back_to_the_pool(small: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    small.read(identify)
    assert count_taken(small) == 1
    monkeypatch.setattr(kept_connections, "_LONGEST_S", 0.0)
    small.read(identify)
    assert count_taken(small) == 0


def test_dropped_connections_are_closed(small: Database) -> None:
    first: Any = small.read(lambda c: c.connection.dbapi_connection)
    small.drop_connections()
    assert count_taken(small) == 0
    with pytest.raises((sqlite3.ProgrammingError, pymysql.err.InterfaceError)):
        first.cursor().execute("SELECT 1")


@pytest.mark.mysql
def test_after_a_lost_connection_the_others_are_not_tried(server_database: Database) -> None:
    """A server that was started anew knows none of them; each try would take its pause."""
    database = Database(server_database.url, replace(server_database.config, pool_size=8))
    together = threading.Barrier(8)

    def number(connection: Connection) -> int:
        found: int = connection.scalar(sa.text("SELECT CONNECTION_ID()")) or 0
        together.wait(10)
        return found

    numbers: list[int] = []
    readers = [
        threading.Thread(target=lambda: numbers.append(database.read(number))) for _ in range(8)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    for each in numbers:
        server_database.read(lambda c, each=each: c.exec_driver_sql(f"KILL {each}"))
    tries: list[int] = []

    def count(connection: Connection) -> int:
        tries.append(1)
        return connection.scalar(sa.text("SELECT 7")) or 0

    assert database.read(count) == 7
    assert len(tries) == 2
    database.close()
