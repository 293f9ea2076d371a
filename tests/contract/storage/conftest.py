"""Every test of this folder that takes `database` runs on SQLite and on a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dag_engine.storage.database import Database
from dag_engine.storage.scheduler_store import SchedulerStore
from tests.support import databases
from tests.support.stored_samples import make_store


@pytest.fixture(scope="package")
def _server_database() -> Iterator[Database]:
    with databases.fresh_mysql_url() as url:
        database = databases.open_migrated(url, lock_wait_timeout_s=2)
        yield database
        database.close()


@pytest.fixture(params=databases.DIALECTS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        opened = databases.open_migrated(databases.sqlite_url(tmp_path))
        yield opened
        opened.close()
        return
    yield request.getfixturevalue("server_database")


@pytest.fixture
def server_database(_server_database: Database) -> Iterator[Database]:
    """A database on the server only, with empty tables."""
    yield _server_database
    databases.empty_tables(_server_database)


@pytest.fixture
def open_store(database: Database) -> Iterator[Callable[..., SchedulerStore]]:
    """Open scheduler's stores, which are closed at the end of the test."""
    opened: list[SchedulerStore] = []

    def open_one(holder: str = "first", lease_s: float = 30.0) -> SchedulerStore:
        opened.append(make_store(database, holder, lease_s))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def leader(open_store: Callable[..., SchedulerStore]) -> SchedulerStore:
    """A store that leads."""
    store = open_store()
    assert store.try_lead() is not None
    return store
