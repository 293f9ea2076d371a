"""Each process is killed once with `kill -9` in the middle of the example DAG: it succeeds."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.credit_data import write_credit_csv
from tests.support.services import ROOT, RunningService, run_serve
from tests.support.waiting import wait_until

DAG_FILE = ROOT / "tests" / "data" / "credit_default.yaml"
PROCESSES = [
    "api",
    "api worker",
    "scheduler",
    "engine-main",
    "engine-execution",
    "engine-monitor",
    "executor-local",
    "pool worker",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_credit_csv(tmp_path_factory.mktemp("data") / "credit.csv", n_rows=30_000)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[RunningService]:
    with run_serve(tmp_path_factory.mktemp("home")) as running:
        add_dataset(running, data)
        yield running


def add_dataset(service: RunningService, data: Path) -> None:
    with data.open("rb") as file:
        service.post("/api/v1/datasets", files={"file": file}, data={"id": "40"}, status=201)


def start_example(service: RunningService) -> str:
    """Start the example DAG without reusing anything, and wait until it is in its middle."""
    run = service.post(
        "/api/v1/runs",
        data=DAG_FILE.read_bytes(),
        headers={"Content-Type": "application/yaml"},
        status=202,
    )
    run_id = str(run["id"])

    def is_in_the_middle() -> bool:
        counts = service.get(f"/api/v1/runs/{run_id}")["tasks"]
        return counts.get("succeeded", 0) >= 1

    wait_until(is_in_the_middle, 30, service.describe)
    return run_id


def find_victim(service: RunningService, name: str) -> int:
    if name == "api worker":
        return children_of(service.find_pids()["api"])[0]
    if name == "pool worker":
        return busy_worker(service.find_pids()["executor-local"])
    return service.find_pids()[name]


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def busy_worker(supervisor: int) -> int:
    """Find the worker whose output goes to an attempt's log."""

    def look() -> int:
        for pid in children_of(supervisor):
            if "/logs/r" in os.readlink(f"/proc/{pid}/fd/1"):
                return pid
        return 0

    return wait_until(look, 20)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", PROCESSES)
def test_the_run_succeeds_though_a_process_is_killed_in_its_middle(
    service: RunningService, name: str
) -> None:
    run_id = start_example(service)
    victim = find_victim(service, name)
    os.kill(victim, signal.SIGKILL)
    run = wait_until(
        lambda: _final(service, run_id), 60, lambda: f"killed {name}: {service.describe()}"
    )
    assert run["state"] == "succeeded", (run, service.get(f"/api/v1/runs/{run_id}/tasks"))
    assert run["tasks"] == {"succeeded": 6}
    wait_until(lambda: _is_whole(service, name, victim), 20, lambda: f"{name} did not come back")


def _final(service: RunningService, run_id: str) -> dict | None:
    try:
        reply = service.session.get(f"{service.url}/api/v1/runs/{run_id}", timeout=30)
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return None  # the api is the one that was killed, perhaps in the middle of its answer
    if reply.status_code != 200:
        return None
    run = reply.json()
    return run if run["state"] in ("succeeded", "failed", "cancelled") else None


def _is_whole(service: RunningService, name: str, victim: int) -> bool:
    """Whether the killed process has a successor, so that the next case starts anew."""
    if name in ("api worker", "pool worker"):
        return True
    return service.find_pids().get(name, victim) != victim


@pytest.mark.timeout(180)
def test_the_run_succeeds_though_everything_is_killed_at_once(tmp_path: Path, data: Path) -> None:
    home = tmp_path / "home"
    with run_serve(home) as first:
        add_dataset(first, data)
        run_id = start_example(first)
        first.process.kill()
        first.process.wait()
        first.check_nothing_left()
    with run_serve(home) as second:
        assert second.wait_for_run(run_id)["state"] == "succeeded"
