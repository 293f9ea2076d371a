"""The database is out of reach while small runs come in and work: nothing is lost or done twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from dag_engine.config import DatabaseConfig
from dag_engine.storage import runs
from dag_engine.storage.database import Database
from dag_engine.storage.errors import DatabaseUnavailableError
from dag_engine.storage.rows import IdempotencyKey, NewRun, RunRecord
from tests.support import crash_algorithms
from tests.support.mariadb_server import MariaDbServer, run_mariadb
from tests.support.services import RunningService, dagengine, put_algorithms, run_serve
from tests.support.small_runs import SmallRuns
from tests.support.stored_samples import make_new_dag, make_plan
from tests.support.tcp_proxy import TcpProxy, open_proxy
from tests.support.waiting import wait_until

REPEATED_WITHIN_S = 15.0
"""As long as another dag engine may take to go on with the runs."""


@pytest.fixture
def algorithms(tmp_path: Path) -> Path:
    return put_algorithms(tmp_path / "algorithms", crash_algorithms)


@dataclass(slots=True)
class Away:
    """A database of a server of its own, reached through a proxy."""

    server: MariaDbServer
    proxy: TcpProxy
    url: str

    def cut(self) -> None:
        """Break off all connections and refuse new ones."""
        self.proxy.cut()

    def stall(self) -> None:
        """Swallow everything that is sent, as a network does that is gone."""
        self.proxy.stall()

    def kill(self) -> None:
        """Kill the server."""
        self.server.kill()

    def pause(self) -> None:
        """Stop the server: its connections stay and nothing answers."""
        self.server.pause()

    def come_back(self) -> None:
        """Undo whatever was done."""
        if not self.server.is_running:
            self.server.start()
        self.server.resume()
        if self.proxy.is_stalled:  # what was swallowed is lost
            self.proxy.cut()
        self.proxy.mend()


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Away]:
    with (
        run_mariadb(tmp_path / "mariadb") as server,
        open_proxy("127.0.0.1", server.port) as proxy,
    ):
        server.make_database("away")
        url = server.url("away", proxy.port)
        made = dagengine("db", "upgrade", "--database-url", url)
        assert made.returncode == 0, made.stderr
        yield Away(server, proxy, url)


@pytest.mark.mysql
@pytest.mark.timeout(120)
def test_a_post_that_a_cut_off_dag_engine_had_in_hand_can_be_repeated_at_another(
    away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction holds the key, and the server does not hear that nobody waits any more."""
    checked = runs.check_provided

    def check_and_stall(*arguments: Any) -> None:
        checked(*arguments)
        monkeypatch.setattr(runs, "check_provided", checked)
        away.stall()

    monkeypatch.setattr(runs, "check_provided", check_and_stall)
    key = IdempotencyKey("key", "start_run", "a" * 64)
    direct = away.server.url("away")
    with (
        closing(Database(away.url, DatabaseConfig(url=away.url))) as cut_off,
        closing(Database(direct, DatabaseConfig(url=direct))) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        lost = pool.submit(_accept, cut_off, key)
        wait_until(lambda: away.proxy.is_stalled)
        began = time.monotonic()
        run = wait_until(lambda: _try_to_accept(other, key), 60)
        assert time.monotonic() - began < REPEATED_WITHIN_S
        with pytest.raises(DatabaseUnavailableError):
            lost.result()
        assert time.monotonic() - began < REPEATED_WITHIN_S
        away.come_back()
        assert _accept(cut_off, key) == run


def _accept(database: Database, key: IdempotencyKey) -> RunRecord:
    new = NewRun(plan=make_plan())
    accepted = runs.accept_run(database, new, definition=make_new_dag(), idempotency_key=key)
    return accepted.run


def _try_to_accept(database: Database, key: IdempotencyKey) -> RunRecord | None:
    with suppress(DatabaseUnavailableError):
        return _accept(database, key)
    return None


def _check_health(service: RunningService) -> None:
    """Without its database the service lives, says what is wrong, and is not ready."""
    assert service.call("GET", "/livez").status_code == 200
    began = time.monotonic()
    assert requests.get(f"{service.url}/readyz", timeout=30).status_code == 503
    health = requests.get(f"{service.url}/healthz", timeout=30)
    assert health.json()["status"] != "ok", health.text
    assert time.monotonic() - began < 8, "both have to answer soon"


@pytest.mark.mysql
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("leave", "away_s"),
    [
        (Away.cut, 10.0),
        (Away.kill, 10.0),
        pytest.param(Away.cut, 60.0, marks=pytest.mark.long),
        pytest.param(Away.stall, 20.0, marks=pytest.mark.long),
        pytest.param(Away.pause, 20.0, marks=pytest.mark.long),
    ],
)
def test_acknowledged_runs_succeed_and_no_task_runs_twice_though_the_database_was_away(
    tmp_path: Path,
    away: Away,
    algorithms: Path,
    leave: Callable[[Away], None],
    away_s: float,
) -> None:
    ledger = tmp_path / "ledger.txt"
    arguments = ("--database-url", away.url, "--algorithms", str(algorithms))
    with run_serve(tmp_path / "home", *arguments) as service:
        with SmallRuns([service.url], ledger, n_threads=1) as load:
            load.wait_for_more(10, 30)
            leave(away)
            _check_health(service)
            threading.Event().wait(away_s)
            away.come_back()
            load.wait_for_more(10, 30)
        load.check(service.url)
        _check_attempts(service, load)
    assert load.n_refused > 0
    assert load.slowest_refusal_s < 4, "a 503 has to come at once"


def _check_attempts(service: RunningService, load: SmallRuns) -> None:
    """No task was tried again but after a loss."""
    for run_id in load.accepted.values():
        for task in service.get(f"/api/v1/runs/{run_id}/tasks")["items"]:
            if task["attempt"] > 1:
                found = service.get(f"/api/v1/runs/{run_id}/tasks/{task['operator']}")
                reasons = {attempt["reason"] for attempt in found["attempts"][:-1]}
                assert reasons <= {"lost", "killed"}, found
