"""Writers that come at the same time share a transaction, and none of them notices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.storage import runs, tables
from dag_engine.storage.database import Database
from dag_engine.storage.errors import DatabaseUnavailableError, IdempotencyConflictError
from dag_engine.storage.rows import IdempotencyKey
from dag_engine.storage.shared_commits import SharedCommits
from tests.support.databases import lost_answer
from tests.support.stored_samples import accept_sample_run
from tests.support.waiting import wait_until

Work = Callable[[Any], Any]  # without a database there is no connection


@pytest.fixture
def writers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


class Crowd:
    """Writers that come while a first one is in the midst of its transaction.

    `write` runs a function in a transaction; how often it is called is counted.
    """

    def __init__(self, pool: ThreadPoolExecutor, write: Callable[[Work], Any]) -> None:
        self._pool = pool
        self._write = write
        self._commits = SharedCommits()
        self._is_first_in = threading.Event()
        self._may_go_on = threading.Event()
        self.n_writes = 0
        self.first = self.start(self._hold)
        self._is_first_in.wait(10)

    def come(self, works: list[Work]) -> list[Future[Any]]:
        """Let writers come, and the first one go on when all of them wait."""
        coming = self.queue(works)
        self._may_go_on.set()
        return coming

    def queue(self, works: list[Work]) -> list[Future[Any]]:
        """Let writers come, until all of them wait."""
        coming = [self.start(work) for work in works]
        wait_until(lambda: len(self._commits._waiting) == len(works))
        return coming

    def start(self, work: Work) -> Future[Any]:
        return self._pool.submit(self._commits.run, work, self._count)

    def _count(self, work: Work) -> Any:
        self.n_writes += 1
        return self._write(work)

    def _hold(self, connection: Connection) -> str:
        self._is_first_in.set()
        assert self._may_go_on.wait(10)
        return "first"


def rename(database: Database, run_id: str, name: str) -> Work:
    """Make a function that gives a run a name, and returns that."""
    table = tables.runs

    def work(connection: Connection) -> str:
        connection.execute(sa.update(table).where(table.c.run_id == run_id).values(name=name))
        return name

    return work


def names(database: Database, run_ids: list[str]) -> list[str]:
    return [runs.get_run(database, "default", run_id).name for run_id in run_ids]


def test_who_waits_at_the_same_time_is_written_in_one_transaction(
    database: Database, writers: ThreadPoolExecutor
) -> None:
    run_ids = [accept_sample_run(database).id for _ in range(20)]
    crowd = Crowd(writers, database.run_txn)
    coming = crowd.come([rename(database, run_id, f"new {run_id}") for run_id in run_ids])
    assert crowd.first.result(10) == "first"
    assert [one.result(10) for one in coming] == [f"new {run_id}" for run_id in run_ids]
    assert names(database, run_ids) == [f"new {run_id}" for run_id in run_ids]
    assert crowd.n_writes == 3, "the first one alone, then at most sixteen at once"


def test_who_comes_while_a_later_one_leads_waits_too(writers: ThreadPoolExecutor) -> None:
    is_second_in, may_go_on = threading.Event(), threading.Event()

    def hold(_: Connection) -> str:
        is_second_in.set()
        assert may_go_on.wait(10)
        return "second"

    crowd = Crowd(writers, lambda work: work(None))
    (second,) = crowd.come([hold])
    assert is_second_in.wait(10)
    third, fourth = crowd.queue([lambda _: "third", lambda _: "fourth"])
    may_go_on.set()
    assert [one.result(10) for one in (second, third, fourth)] == ["second", "third", "fourth"]
    assert crowd.n_writes == 3


def test_one_that_fails_fails_alone(database: Database, writers: ThreadPoolExecutor) -> None:
    run_ids = [accept_sample_run(database, name="old").id for _ in range(3)]
    works = [rename(database, run_id, "new") for run_id in run_ids]

    def fail(connection: Connection) -> None:
        works[1](connection)
        raise KeyError("mine")

    crowd = Crowd(writers, database.run_txn)
    coming = crowd.come([works[0], fail, works[2]])
    assert [coming[0].result(10), coming[2].result(10)] == ["new", "new"]
    with pytest.raises(KeyError, match="mine"):
        coming[1].result(10)
    assert names(database, run_ids) == ["new", "old", "new"]


def test_one_that_fails_by_itself_is_not_tried_twice(database: Database) -> None:
    calls: list[int] = []

    def fail(connection: Connection) -> None:
        calls.append(1)
        raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            database.run_shared_txn(fail)
    assert len(calls) == 2


def test_all_are_told_when_the_database_is_away_and_the_next_one_tries_anew(
    writers: ThreadPoolExecutor,
) -> None:
    has_failed = threading.Event()

    def write(work: Work) -> Any:
        if has_failed.is_set():
            return work(None)
        work(None)
        has_failed.set()
        raise DatabaseUnavailableError("gone away")

    crowd = Crowd(writers, write)
    coming = crowd.come([lambda _: "never"] * 20)
    for one in (crowd.first, *coming):
        with pytest.raises(DatabaseUnavailableError, match="gone away"):
            one.result(10)
    assert crowd.n_writes == 1, "nobody waits for it once more"
    assert crowd.start(lambda _: "again").result(10) == "again"


def test_what_fails_before_it_is_written_leaves_the_way_free(writers: ThreadPoolExecutor) -> None:
    commits = SharedCommits()

    def refuse(work: Work) -> Any:
        raise RuntimeError("no connection")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            commits.run(lambda _: 1, refuse)
    assert commits.run(lambda _: 1, lambda work: work(None)) == 1


def test_a_commit_whose_answer_was_lost_accepts_no_run_of_the_group_twice(
    database: Database, writers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every first commit goes through, but the answer does not come."""
    real, lost = Database._write_unlocked, []

    def write(self: Database, work: Work, limits: Any) -> Any:
        result = real(self, work, limits)
        if len(lost) < 2:
            lost.append(1)
            raise lost_answer(self)
        return result

    monkeypatch.setattr(Database, "_write_unlocked", write)
    accepting = [writers.submit(accept_sample_run, database) for _ in range(12)]
    accepted = {one.result(10).id for one in accepting}
    assert len(accepted) == 12
    stored = {run.id for run in runs.list_runs(database, "default").items}
    assert stored == accepted
    assert lost == [1, 1]


def test_runs_of_one_key_that_come_at_once_are_one_run(
    database: Database, writers: ThreadPoolExecutor
) -> None:
    key, other = (IdempotencyKey("k", "start_file", digit * 64) for digit in "ab")
    barrier = threading.Barrier(12)

    def accept(key: IdempotencyKey | None) -> str:
        barrier.wait(10)
        return accept_sample_run(database, idempotency_key=key).id

    coming = [writers.submit(accept, key) for _ in range(6)]
    bare = [writers.submit(accept, None) for _ in range(6)]
    assert len({one.result(10) for one in coming}) == 1
    assert len({one.result(10) for one in bare}) == 6
    with pytest.raises(IdempotencyConflictError):
        accept_sample_run(database, idempotency_key=other)
    assert len(runs.list_runs(database, "default").items) == 7


def test_a_large_run_has_a_transaction_of_its_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[int] = []
    real = Database.run_shared_txn

    def run(self: Database, work: Work, **options: Any) -> Any:
        shared.append(1)
        return real(self, work, **options)

    monkeypatch.setattr(Database, "run_shared_txn", run)
    accept_sample_run(database, n_tasks=200)
    accept_sample_run(database, n_tasks=201)
    assert shared == [1]
