"""Thousands of operators through one service leave nothing behind in any of its processes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from executors.base import ExecutorSettings
from executors.local.client import LocalExecutor
from tests.support import noop_algorithm
from tests.support.closing_lines import Record, record_closing_lines
from tests.support.length import IS_LONG
from tests.support.services import RunningService, put_algorithms, run_serve
from tests.support.waiting import wait_until

N_OPERATORS = 10_000 if IS_LONG else 2_000
N_WARM = 2_000 if IS_LONG else 1_000
WIDTH, DEPTH = 10, 10
MAX_GROWTH = 1.10
SPARE_BYTES = 4 * 1024 * 1024
"""Less than this is what an allocator keeps or a page that was touched for the first time."""
OPTIONS = {"workers": 4, "max_tasks_per_worker": 100_000}


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one process holds."""

    n_files: int
    n_threads: int
    memory_bytes: int


def hold(process: psutil.Process) -> Holdings:
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    fields = {line.split()[0]: line.split()[1] for line in text.splitlines()[1:]}
    return Holdings(process.num_fds(), process.num_threads(), int(fields["Anonymous:"]) * 1024)


def find_service_processes(service: RunningService) -> dict[str, psutil.Process]:
    """Every process of the service by a name that stays the same."""
    found: dict[str, psutil.Process] = {"serve": psutil.Process(service.process.pid)}
    for name, pid in service.find_pids().items():
        found[name] = process = psutil.Process(pid)
        for number, child in enumerate(sorted(process.children(), key=lambda child: child.pid)):
            if child.pid not in service.find_pids().values():
                found[f"{name} child {number}"] = child
    return found


def make_layers() -> str:
    """A run of `DEPTH` layers of `WIDTH` operators, each after two of the layer above."""
    names = [[f"o{layer}_{place}" for place in range(WIDTH)] for layer in range(DEPTH)]
    rels = {
        names[layer][place]: [
            {
                "target": names[layer + 1][(place + shift) % WIDTH],
                "source_index": 0,
                "target_index": 0,
            }
            for shift in (0, 1)
        ]
        for layer in range(DEPTH - 1)
        for place in range(WIDTH)
    }
    operators = [name for layer in names for name in layer]
    details = {name: {"algo_name": "pass_on", "params": {}} for name in operators}
    dag = {"operator_list": operators, "operator_rels": rels, "operator_details": details}
    return json.dumps({"dag": dag})


def run_operators(service: RunningService, n_operators: int) -> None:
    """Keep four runs under way until so many operators have run."""
    under_way: list[str] = []
    for _ in range(n_operators // (WIDTH * DEPTH)):
        if len(under_way) >= 4:
            finish(service, under_way.pop(0))
        run = service.post(
            "/api/v1/runs",
            data=make_layers(),
            headers={"Content-Type": "application/json"},
            status=202,
        )
        under_way.append(run["id"])
    for run_id in under_way:
        finish(service, run_id)


def finish(service: RunningService, run_id: str) -> None:
    run = service.wait_for_run(run_id, 120)
    assert run["tasks"] == {"succeeded": WIDTH * DEPTH}, run


def count_files(home: Path) -> Counter[str]:
    """Files in every folder that tasks use and give back."""
    return Counter(
        {name: sum(1 for _ in (home / name).rglob("*")) for name in ("spool", "work", "run")}
    )


def settle(service: RunningService) -> dict[str, Any]:
    """Wait until nothing runs and nothing waits to be released; gives what the pool holds."""
    settings = ExecutorSettings(home=str(service.home), logs="", store_url="")
    pool = LocalExecutor("local", {}, settings)

    def is_quiet() -> dict[str, Any]:
        status = pool.status()
        is_idle = all(worker["stage"] == "idle" for worker in status["workers"])
        is_warm = all(worker["is_preloaded"] for worker in status["workers"])
        return status if status["n_held"] == 0 and is_idle and is_warm else {}

    try:
        return wait_until(is_quiet, 60, service.describe)
    finally:
        pool.close()


def count_odd_sockets(processes: dict[str, psutil.Process]) -> int:
    return sum(
        connection.status == psutil.CONN_CLOSE_WAIT
        for process in processes.values()
        for connection in process.net_connections()
    )


@pytest.mark.timeout(600 if IS_LONG else 180)
def test_thousands_of_operators_leave_nothing_behind(
    tmp_path: Path, record_property: Record
) -> None:
    algorithms = put_algorithms(tmp_path / "algorithms", noop_algorithm)
    env = {"DAGENGINE__EXECUTORS__LOCAL__OPTIONS": json.dumps(OPTIONS)}
    with run_serve(tmp_path / "home", "--algorithms", str(algorithms), env=env) as service:
        service.session.headers["Connection"] = "close"  # else one api worker gets every call
        settle(service)
        run_operators(service, N_WARM)
        settle(service)
        processes = find_service_processes(service)
        before = {name: hold(process) for name, process in processes.items()}
        files_before = count_files(service.home)
        n_marked = len(service.find_processes())
        run_operators(service, N_OPERATORS)
        settle(service)
        wait_until(lambda: count_odd_sockets(processes) == 0, 5, "sockets in CLOSE_WAIT")
        assert find_service_processes(service).keys() == processes.keys()
        assert len(service.find_processes()) == n_marked
        assert all(process.status() != psutil.STATUS_ZOMBIE for process in processes.values())
        after = {name: hold(process) for name, process in processes.items()}
        record_closing_lines(record_property, describe(before, after))
        assert find_leaks(before, after) == {}, describe(before, after)
        assert count_files(service.home) == files_before


def find_leaks(before: dict[str, Holdings], after: dict[str, Holdings]) -> dict[str, str]:
    """Name what has grown; a pool of connections may open a few more descriptors."""
    leaks = {}
    for name, old in before.items():
        new = after[name]
        if new.n_files > old.n_files + 4:
            leaks[name] = f"files {old.n_files} -> {new.n_files}"
        if new.n_threads > old.n_threads + 2:
            leaks[name] = f"threads {old.n_threads} -> {new.n_threads}"
        if new.memory_bytes > old.memory_bytes * MAX_GROWTH + SPARE_BYTES:
            leaks[name] = f"memory {old.memory_bytes} -> {new.memory_bytes}"
    return leaks


def describe(before: dict[str, Holdings], after: dict[str, Holdings]) -> str:
    lines = [
        f"{name}: files {old.n_files} -> {after[name].n_files}, "
        f"threads {old.n_threads} -> {after[name].n_threads}, "
        f"memory {old.memory_bytes >> 10} -> {after[name].memory_bytes >> 10} KiB"
        for name, old in before.items()
    ]
    return "\n".join(lines)
