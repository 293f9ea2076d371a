"""The database is out of reach while small runs come in and work: nothing is lost or done twice."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.support import ledger_algorithm
from tests.support.mariadb_server import MariaDbServer, run_mariadb
from tests.support.services import RunningService, dagengine, run_serve
from tests.support.tcp_proxy import TcpProxy, open_proxy
from tests.support.waiting import wait_until

OPERATORS = ("first", "left", "right", "last")
EDGES = {"first": ("left", "right"), "left": ("last",), "right": ("last",), "last": ()}


class Load:
    """Posts a small run every moment, and remembers which were acknowledged."""

    def __init__(self, service: RunningService, ledger: Path) -> None:
        self.acknowledged: dict[str, str] = {}
        self.n_refused = 0
        self.slowest_refusal_s = 0.0
        self._service = service
        self._ledger = ledger
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(60)

    def _run(self) -> None:
        number = 0
        with requests.Session() as session:
            while not self._stopped.wait(0.15):
                number += 1
                self._post(session, f"run {number}")

    def _post(self, session: requests.Session, name: str) -> None:
        began = time.monotonic()
        reply = session.post(
            f"{self._service.url}/api/v1/runs",
            data=json.dumps(_make_dag(name, str(self._ledger))),
            headers={"Content-Type": "application/json"},
            timeout=60,
        )
        if reply.status_code == 202:
            self.acknowledged[reply.json()["id"]] = name
            return
        assert reply.status_code == 503, reply.text
        assert reply.headers["Retry-After"]
        self.n_refused += 1
        self.slowest_refusal_s = max(self.slowest_refusal_s, time.monotonic() - began)


def _make_dag(name: str, ledger: str) -> dict:
    details = {
        operator: {
            "algo_name": "write_ledger",
            "params": {"ledger": ledger, "line": f"{name} {operator}"},
        }
        for operator in OPERATORS
    }
    rels = {
        source: [{"target": target, "source_index": 0, "target_index": 0} for target in targets]
        for source, targets in EDGES.items()
    }
    return {
        "dag": {
            "name": name,
            "operator_list": list(OPERATORS),
            "operator_rels": rels,
            "operator_details": details,
        }
    }


@pytest.fixture
def algorithms(tmp_path: Path) -> Path:
    folder = tmp_path / "algorithms"
    folder.mkdir()
    shutil.copy(ledger_algorithm.__file__, folder / "write_ledger.py")
    return folder


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
        with Load(service, ledger) as load:
            wait_until(lambda: len(load.acknowledged) >= 10, 30, service.describe)
            n_before = len(load.acknowledged)
            leave(away)
            _check_health(service)
            threading.Event().wait(away_s)
            away.come_back()
            wait_until(lambda: len(load.acknowledged) >= n_before + 10, 30, service.describe)
        for run_id in load.acknowledged:
            run = service.wait_for_run(run_id, 60)
            assert run["state"] == "succeeded", run
        _check_executions(service, load, ledger)
    assert load.n_refused > 0
    assert load.slowest_refusal_s < 4, "a 503 has to come at once"


def _check_executions(service: RunningService, load: Load, ledger: Path) -> None:
    """Every task of an acknowledged run ran once, or as often as its attempts say why."""
    executed = Counter(ledger.read_text().splitlines())
    for run_id, name in load.acknowledged.items():
        for operator in OPERATORS:
            count = executed.pop(f"{name} {operator}", 0)
            if count == 1:
                continue
            task = service.get(f"/api/v1/runs/{run_id}/tasks/{operator}")
            lost = [a for a in task["attempts"] if a["reason"] in ("lost", "killed")]
            assert 1 < count <= 1 + len(lost), (count, task)
    # What is left was accepted although its answer was lost on the way: that ran once, too.
    assert set(executed.values()) <= {1}, executed
