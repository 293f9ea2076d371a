"""Measures what a task costs with a thousand, ten thousand and a hundred thousand in flight:

    python benchmarks/in_flight.py [--database-url …] [--tasks 1000,10000,100000] [--json FILE]

Runs of a hundred no-ops, ten layers of ten, are posted one after the other until so many tasks are
in flight, and all are awaited. Processor time is that of all processes of the service; per task it
should be the same however many there are.

Caveats: client, service and database share one machine, whose other load shows in the seconds and
less in the processor time; with a server, its own processor time is not counted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.client import ApiClient, BenchmarkError
from benchmarks.frame import make_parser, running_service, write_results
from benchmarks.graphs import make_dag_file, make_layers
from benchmarks.processes import measure_tree, sum_cpu_by_name
from benchmarks.service import Service

_API = "/api/v1"
_OPEN = "state=pending&state=running"
_LAYERS, _WIDTH = 10, 10
_LOOK_EVERY_S = 0.25
_S_A_TASK = 0.02
"""After so long the wait for a task is given up."""


def main() -> None:
    """Start a service, run one load after the other, print and write what was measured."""
    parser = make_parser(__doc__)
    parser.add_argument("--tasks", default="1000,10000,100000")
    given = parser.parse_args()
    results: dict[str, Any] = {}
    loads = [int(n) for n in given.tasks.split(",")]
    with running_service(given.database_url, results) as (service, client):
        results["loads"] = measure_loads(service, client, loads)
    print(write_results(results, given.json), end="")


def measure_loads(service: Service, client: ApiClient, loads: list[int]) -> list[dict[str, Any]]:
    """Measure one load after the other, each so many tasks; a first run warms up."""
    dag_id = _store_dag(client)
    _measure(client, service, dag_id, _LAYERS * _WIDTH)
    return [_measure(client, service, dag_id, n_tasks) for n_tasks in loads]


def _store_dag(client: ApiClient) -> str:
    file = make_dag_file(make_layers(_LAYERS, _WIDTH), "in flight")
    _, answer = client.time_call("POST", f"{_API}/dags", json.dumps(file).encode())
    dag_id: str = json.loads(answer)["id"]
    return dag_id


def _measure(client: ApiClient, service: Service, dag_id: str, n_tasks: int) -> dict[str, Any]:
    began, before = time.perf_counter(), measure_tree(service.pid)
    for _ in range(n_tasks // (_LAYERS * _WIDTH)):
        client.time_call("POST", f"{_API}/dags/{dag_id}/runs", b"{}")
    posted_s = time.perf_counter() - began
    deadline = time.monotonic() + n_tasks * _S_A_TASK + 10
    most = _count_in_flight(client)
    while json.loads(client.time_call("GET", f"{_API}/runs?limit=1&{_OPEN}")[1])["items"]:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{n_tasks} tasks did not end in time")
        time.sleep(_LOOK_EVERY_S)
    seconds = time.perf_counter() - began
    cpu = sum_cpu_by_name(before, measure_tree(service.pid))
    return {
        "tasks": n_tasks,
        "in_flight_when_posted": most,
        "posted_s": round(posted_s, 2),
        "seconds": round(seconds, 2),
        "ms_a_task": round(1000 * seconds / n_tasks, 3),
        "cpu_ms_a_task": round(1000 * sum(cpu.values()) / n_tasks, 3),
        "cpu_ms_a_task_by_process": {
            name: round(1000 * used / n_tasks, 3) for name, used in cpu.items()
        },
    }


def _count_in_flight(client: ApiClient) -> int:
    _, answer = client.time_call("GET", f"{_API}/runs?limit=1000&{_OPEN}")
    finished = ("succeeded", "failed", "skipped", "cancelled", "upstream_failed")
    return sum(
        n
        for run in json.loads(answer)["items"]
        for state, n in run["tasks"].items()
        if state not in finished
    )


if __name__ == "__main__":
    main()
