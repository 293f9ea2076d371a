"""A full disk fails what needs room, by its name; nothing acknowledged is lost, and all goes on
once there is room again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import fault_operators
from tests.support.length import IS_LONG
from tests.support.mariadb_server import run_mariadb
from tests.support.services import RunningService, dagengine, run_serve
from tests.support.small_disk import SmallDisk, mount_small_disk
from tests.support.waiting import wait_until

N_ROUNDS = 3 if IS_LONG else 1
RESULT_BYTES = 300_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mount_small_disk(tmp_path / "disk", 48) as mounted:
        yield mounted


@pytest.fixture
def algorithms(tmp_path: Path) -> Path:
    folder = tmp_path / "algorithms"
    folder.mkdir()
    shutil.copy(fault_operators.__file__, folder / "faults.py")
    return folder


def make_dag(**operators: dict[str, Any]) -> str:
    details = {
        name: {"algo_name": params.pop("algo"), "params": params, "run": {"on_failure": "continue"}}
        for name, params in operators.items()
    }
    dag = {"operator_list": list(operators), "operator_rels": {}, "operator_details": details}
    return json.dumps({"dag": dag})


def large(**more: Any) -> str:
    """A DAG whose result is stored as a file."""
    return make_dag(large={"algo": "huge_result", "n_bytes": RESULT_BYTES, **more})


def post(service: RunningService, dag: str) -> Any:
    return service.session.post(
        f"{service.url}/api/v1/runs",
        data=dag,
        headers={"Content-Type": "application/json"},
        timeout=30,
    )


def start(service: RunningService, dag: str) -> str:
    reply = post(service, dag)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


@pytest.mark.timeout(240)
def test_store_that_is_full_fails_the_attempt_and_a_retry_succeeds(
    tmp_path: Path, disk: SmallDisk, algorithms: Path
) -> None:
    store = disk.path / "store"
    arguments = ("--algorithms", str(algorithms))
    # Each run is to write: none may take the result of the one before.
    env = {
        "DAGENGINE__STORE__URL": f"file://{store}",
        "DAGENGINE__RUN_DEFAULTS__CACHE": "off",
    }
    with run_serve(tmp_path / "home", *arguments, env=env) as service:
        for _ in range(N_ROUNDS):
            before = service.wait_for_run(start(service, large()))
            assert before["state"] == "succeeded"
            disk.fill()
            run_id = start(service, large())
            small = start(service, make_dag(small={"algo": "ok"}))
            assert service.wait_for_run(run_id)["state"] == "failed"
            task = service.get(f"/api/v1/runs/{run_id}/tasks/large")
            assert task["reason"] == "disk_full", task
            assert "No space left" in task["message"]
            assert "Free space" in task["hint"]
            assert service.wait_for_run(small)["state"] == "succeeded", "it needs no room"
            assert _find_halves(store, run_id) == []
            disk.free()
            again = service.post(f"/api/v1/runs/{run_id}:retry", status=202)
            assert service.wait_for_run(again["id"])["state"] == "succeeded"
            content = f"/api/v1/runs/{again['id']}/tasks/large/outputs/0/content"
            assert len(service.get(content)["text"]) == RESULT_BYTES


def _find_halves(store: Path, run_id: str) -> list[Path]:
    """Whatever of an attempt's outputs is there."""
    return [
        path
        for path in store.rglob("*")
        if run_id in str(path) and path.is_file() and path.suffix != ".log"
    ]


@pytest.mark.timeout(240)
def test_home_that_is_full_refuses_new_runs_and_finishes_the_acknowledged_ones(
    tmp_path: Path, disk: SmallDisk, algorithms: Path
) -> None:
    """Database, spool, logs, artifacts and private folders all lie on the disk that is full."""
    gate = tmp_path / "gate"
    with run_serve(disk.path / "home", "--algorithms", str(algorithms)) as service:
        for number in range(N_ROUNDS):
            gate.unlink(missing_ok=True)
            dag = make_dag(
                **{f"waits{i}": {"algo": "ok", "gate": str(gate), "value": i} for i in range(2)},
                **{f"large{i}": {"algo": "huge_result", "n_bytes": 1000} for i in range(4)},
            )
            acknowledged = [start(service, dag) for _ in range(2)]
            disk.fill()
            gate.touch()
            refused = _find_refusal(service, acknowledged)
            assert refused.headers["Retry-After"], refused.headers
            assert refused.json()["code"] in ("database_unavailable", "disk_full"), refused.text
            health = service.get("/healthz")
            disks = [part for part in health["components"] if part["kind"] == "disk"]
            assert any("The disk is full" in part["detail"] for part in disks), health
            disk.free()
            began = time.monotonic()
            wait_until(lambda: post(service, large()).status_code == 202, 30, service.describe)
            assert time.monotonic() - began < 10, "with room again it takes runs at once"
            for run_id in acknowledged:
                run = service.wait_for_run(run_id)
                _check_explained(service, run, number)


def _find_refusal(service: RunningService, acknowledged: list[str], n_operators: int = 1) -> Any:
    """Post until the database has no room; whatever was acknowledged meanwhile is to end, too."""

    def look() -> Any:
        dag = make_dag(**{f"o{i}": {"algo": "ok"} for i in range(n_operators)})
        reply = post(service, dag)
        if reply.status_code == 202:
            acknowledged.append(reply.json()["id"])
            return None
        assert reply.status_code in (503, 507), reply.text
        return [reply]  # a reply that is no success would be false

    return wait_until(look, 60, service.describe)[0]


def _check_explained(service: RunningService, run: dict[str, Any], number: int) -> None:
    """A run has succeeded, or what failed in it failed for want of room."""
    if run["state"] == "succeeded":
        return
    tasks = service.get(f"/api/v1/runs/{run['id']}/tasks")["items"]
    reasons = {task["reason"] for task in tasks if task["state"] == "failed"}
    assert reasons == {"disk_full"}, (number, tasks)
    again = service.post(f"/api/v1/runs/{run['id']}:retry", status=202)
    assert service.wait_for_run(again["id"])["state"] == "succeeded"


@pytest.mark.mysql
@pytest.mark.timeout(300)
@pytest.mark.long
def test_server_whose_disk_is_full_loses_no_acknowledged_run(
    tmp_path: Path, algorithms: Path
) -> None:
    """MariaDB ends itself where it cannot write; after a restart with room all is there."""
    with (
        mount_small_disk(tmp_path / "disk", 320) as disk,
        run_mariadb(disk.path / "server") as server,
    ):
        url = server.make_database()
        assert dagengine("db", "upgrade", "--database-url", url).returncode == 0
        arguments = ("--database-url", url, "--algorithms", str(algorithms))
        with run_serve(tmp_path / "home", *arguments) as service:
            acknowledged = [start(service, large()) for _ in range(3)]
            disk.fill()
            _find_refusal(service, acknowledged, n_operators=500)
            disk.free()
            if not server.is_running:
                server.start()
            wait_until(lambda: post(service, large()).status_code == 202, 60, service.describe)
            for run_id in acknowledged:
                assert service.wait_for_run(run_id, 120)["state"] == "succeeded"
