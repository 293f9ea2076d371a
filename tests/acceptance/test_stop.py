"""A stop in good order: what runs may end, the rest is handed back, nothing counts as a failure."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support import ledger_algorithm
from tests.support.services import (
    RunningService,
    put_algorithms,
    run_dag_engine,
    run_operator_engine,
    run_serve,
)
from tests.support.waiting import wait_until

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def algorithms(tmp_path: Path) -> Path:
    return put_algorithms(tmp_path / "algorithms", ledger_algorithm)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def start_run(service: RunningService, ledger: Path, **seconds: float | Path) -> str:
    """Start a run of operators that write their name and then work for so long, or until a file is
    there.
    """
    details = {
        name: {
            "algo_name": "write_ledger",
            "params": {"ledger": str(ledger), "line": name, **_work(duration)},
        }
        for name, duration in seconds.items()
    }
    dag = {"operator_list": list(seconds), "operator_rels": {}, "operator_details": details}
    run = service.post("/api/v1/runs", data=json.dumps({"dag": dag}), headers=JSON, status=202)
    return str(run["id"])


def _work(duration: float | Path) -> dict[str, Any]:
    if isinstance(duration, Path):
        return {"seconds": 0, "gate": str(duration)}
    return {"seconds": duration}


def wait_for_lines(ledger: Path, *names: str) -> None:
    wait_until(
        lambda: ledger.exists() and set(names) <= set(ledger.read_text().split()),
        30,
        lambda: ledger.read_text() if ledger.exists() else "nothing ran",
    )


def tasks_of(service: RunningService, run_id: str) -> dict[str, Any]:
    items = service.get(f"/api/v1/runs/{run_id}/tasks")["items"]
    return {item["operator"]: item for item in items}


def test_what_runs_may_end_and_the_rest_runs_after_the_next_start(
    tmp_path: Path, algorithms: Path, ledger: Path
) -> None:
    arguments = ("--algorithms", str(algorithms), "--workers", "2")
    env = {"DAGENGINE__ENGINE__STOP_GRACE_S": "4"}
    with run_serve(tmp_path / "home", *arguments, env=env) as service:
        run_id = start_run(service, ledger, short=2.0, long=30.0, queued=0.0)
        wait_for_lines(ledger, "short", "long")
        began = time.monotonic()
        assert service.stop() == 0
        took_s = time.monotonic() - began
    assert 3.5 < took_s < 18
    assert Counter(ledger.read_text().split()) == {"short": 1, "long": 1}
    with run_serve(tmp_path / "home", *arguments, env=env) as service:
        wait_until(lambda: Counter(ledger.read_text().split())["long"] == 2, 30, service.describe)
        found = tasks_of(service, run_id)
        assert (found["short"]["state"], found["short"]["attempt"]) == ("succeeded", 1)
        assert found["long"]["attempt"] == 2
        tried = service.get(f"/api/v1/runs/{run_id}/tasks/long")["attempts"]
        assert tried[0]["reason"] == "lost"
        assert "stopped before it ended" in tried[0]["message"]
        service.call("POST", f"/api/v1/runs/{run_id}:cancel")
        service.wait_for_run(run_id)
    assert Counter(ledger.read_text().split()) == {"short": 1, "long": 2, "queued": 1}


def test_idle_service_stops_at_once_and_a_second_signal_hurries(
    tmp_path: Path, algorithms: Path, ledger: Path
) -> None:
    arguments = ("--algorithms", str(algorithms), "--workers", "1")
    with run_serve(tmp_path / "home", *arguments) as service:
        began = time.monotonic()
        assert service.stop(signal.SIGINT) == 0
        assert time.monotonic() - began < 9, "less than the grace time of what runs"
    env = {"DAGENGINE__ENGINE__STOP_GRACE_S": "600"}
    with run_serve(tmp_path / "home", *arguments, env=env) as service:
        start_run(service, ledger, long=600.0)
        wait_for_lines(ledger, "long")
        service.process.terminate()
        wait_until(lambda: "stopping" in service.read_output(), 10, service.describe)
        assert service.stop() == 130
        assert "stopped in a hurry" in service.read_output()


def test_queued_tasks_of_a_stopped_engine_go_to_another_at_once(
    tmp_path: Path, algorithms: Path, ledger: Path
) -> None:
    arguments = ("--algorithms", str(algorithms), "--slots", "1")
    env = {"DAGENGINE__ENGINE__STOP_GRACE_S": "30"}
    lease = {"DAGENGINE__SCHEDULER__ENGINE_LEASE_S": "600"}
    with run_dag_engine(tmp_path / "dag_engine", env=lease) as service:
        with run_operator_engine(tmp_path / "one", service, *arguments, env=env) as engine:
            gate = tmp_path / "gate"
            run_id = start_run(service, ledger, running=gate, queued=0.0, queued_too=0.0)
            wait_for_lines(ledger, "running")
            with run_operator_engine(tmp_path / "two", service, *arguments):
                engine.process.terminate()
                wait_for_lines(ledger, "queued", "queued_too")
                assert engine.process.poll() is None, "what runs there may end"
                gate.touch()
                assert service.wait_for_run(run_id)["state"] == "succeeded"
                wait_until(lambda: engine.process.poll() is not None, 20, engine.describe)
                assert engine.process.returncode == 0
                engines = service.get("/api/v1/operator-engines")["items"]
                assert [one["is_alive"] for one in engines].count(False) == 1
        found = tasks_of(service, run_id)
        assert {name: task["attempt"] for name, task in found.items()} == {
            "running": 1, "queued": 2, "queued_too": 2,
        }  # fmt: skip
    assert sorted(ledger.read_text().split()) == ["queued", "queued_too", "running"]
