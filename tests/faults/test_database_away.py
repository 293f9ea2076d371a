"""The database is out of reach while small runs come in and work: nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.support import ledger_algorithm
from tests.support.databases import fresh_mysql_url, server_url
from tests.support.services import RunningService, dagengine, run_serve
from tests.support.tcp_proxy import TcpProxy, open_proxy
from tests.support.waiting import wait_until

OPERATORS = ("first", "left", "right", "last")
EDGES = {"first": ("left", "right"), "left": ("last",), "right": ("last",), "last": ()}
LONG = [
    pytest.mark.slow,
    pytest.mark.skipif("DAGENGINE_TEST_LONG" not in os.environ, reason="runs with `make faults`"),
]


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


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    url = server_url()
    with open_proxy(url.host or "127.0.0.1", url.port or 3306) as opened:
        yield opened


@pytest.fixture
def database_url(proxy: TcpProxy) -> Iterator[str]:
    """An own database with all tables, reached through the proxy."""
    with fresh_mysql_url() as direct:
        made = dagengine("db", "upgrade", "--database-url", direct)
        assert made.returncode == 0, made.stderr
        url = server_url().set(
            host="127.0.0.1", port=proxy.port, database=direct.rpartition("/")[2].split("?")[0]
        )
        yield url.render_as_string(hide_password=False)


def _cut_for(proxy: TcpProxy, seconds: float) -> None:
    proxy.cut()
    threading.Event().wait(seconds)
    proxy.mend()


def _stall_for(proxy: TcpProxy, seconds: float) -> None:
    proxy.stall()
    threading.Event().wait(seconds)
    proxy.cut()
    proxy.mend()


@pytest.mark.mysql
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("interrupt", "away_s"),
    [
        (_cut_for, 10.0),
        pytest.param(_cut_for, 60.0, marks=LONG),
        pytest.param(_stall_for, 10.0, marks=LONG),
    ],
)
def test_acknowledged_runs_succeed_and_no_task_runs_twice_though_the_database_was_away(
    tmp_path: Path,
    proxy: TcpProxy,
    database_url: str,
    algorithms: Path,
    interrupt: Callable[[TcpProxy, float], None],
    away_s: float,
) -> None:
    ledger = tmp_path / "ledger.txt"
    arguments = ("--database-url", database_url, "--algorithms", str(algorithms))
    with run_serve(tmp_path / "home", *arguments) as service:
        with Load(service, ledger) as load:
            wait_until(lambda: len(load.acknowledged) >= 10, 30, service.describe)
            n_before = len(load.acknowledged)
            interrupt(proxy, away_s)
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
            lost = [a for a in task["attempts"] if a["reason"]["code"] in ("lost", "killed")]
            assert 1 < count <= 1 + len(lost), (count, task)
    # What is left was accepted although its answer was lost on the way: that ran once, too.
    assert set(executed.values()) <= {1}, executed
