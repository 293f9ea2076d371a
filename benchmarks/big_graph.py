"""Measures one graph of ten thousand no-ops from the check of its file to the end of its run:

    python benchmarks/big_graph.py [--layers 100] [--width 100] [--database-url …] [--json FILE]

The same is done with a tenth of the layers first: cost per operator should not grow with the
graph. The page of a run is what the browser asks for: the page, the run, and its first thousand
tasks; while the run goes on and afterwards.

Caveats: client, service and database share one machine, whose other load shows in the figures.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.client import FINAL_STATES, ApiClient, BenchmarkError
from benchmarks.frame import make_parser, running_service, write_results
from benchmarks.graphs import make_dag_file, make_layers
from benchmarks.load import describe_times

_API = "/api/v1"
_JSON, _YAML = "application/json", "application/yaml"
_WARM_UP_LAYERS = 2
_ASKED = 30
_RUN_TIMEOUT_S = 300.0


def main() -> None:
    """Start a service, run both graphs, print and write what was measured."""
    parser = make_parser(__doc__)
    parser.add_argument("--layers", type=int, default=100)
    parser.add_argument("--width", type=int, default=100)
    given = parser.parse_args()
    results: dict[str, Any] = {}
    with running_service(given.database_url, results) as (_, client):
        _measure(client, _WARM_UP_LAYERS, given.width)
        results["graphs"] = [
            _measure(client, layers, given.width)
            for layers in (max(1, given.layers // 10), given.layers)
        ]
    print(write_results(results, given.json), end="")


def _measure(client: ApiClient, layers: int, width: int) -> dict[str, Any]:
    graph = make_layers(layers, width)
    name = f"big {layers} x {width}"
    file = make_dag_file(graph, name)
    as_json = json.dumps(file).encode()
    as_yaml = yaml.dump(file, Dumper=yaml.CSafeDumper, sort_keys=False).encode()
    found: dict[str, Any] = {"operators": len(graph.nodes), "json_bytes": len(as_json)}
    for word, body, kind in (("json", as_json, _JSON), ("yaml", as_yaml, _YAML)):
        found[f"check_{word}_s"] = _post(client, f"{_API}/dags:validate", body, kind)[0]
    found["store_s"], dag = _post(client, f"{_API}/dags", as_json, _JSON)
    found["store_again_s"] = _post(client, f"{_API}/dags", as_json, _JSON)[0]
    began = time.perf_counter()
    found["accept_s"], run = _post(client, f"{_API}/dags/{dag['id']}/runs", b"{}", _JSON)
    found["page_meanwhile"] = _watch(client, run["id"])
    found["run_s"] = round(time.perf_counter() - began, 3)
    found["ms_per_operator"] = round(1000 * found["run_s"] / len(graph.nodes), 3)
    found["page_afterwards"] = describe_times([_ask_page(client, run["id"]) for _ in range(_ASKED)])
    return found


def _post(client: ApiClient, path: str, body: bytes, kind: str) -> tuple[float, Any]:
    seconds, answer = client.time_call("POST", path, body, kind)
    return round(seconds, 3), json.loads(answer)


def _watch(client: ApiClient, run_id: str) -> dict[str, float]:
    """Ask for the page twice a second until the run is over."""
    times: list[float] = []
    deadline = time.monotonic() + _RUN_TIMEOUT_S
    while True:
        times.append(_ask_page(client, run_id))
        run = json.loads(client.time_call("GET", f"{_API}/runs/{run_id}?wait_s=0.5")[1])
        if run["state"] in FINAL_STATES:
            break
        if time.monotonic() > deadline:
            raise BenchmarkError(f"the run {run_id} did not end within {_RUN_TIMEOUT_S:g} s")
    if run["state"] != "succeeded":
        raise BenchmarkError(f"the run {run_id} {run['state']}: {run.get('message')}")
    return describe_times(times) | {"asked": len(times)}


def _ask_page(client: ApiClient, run_id: str) -> float:
    """Ask for what the browser asks for; return the milliseconds of all together."""
    paths = (f"/runs/{run_id}", f"{_API}/runs/{run_id}", f"{_API}/runs/{run_id}/tasks?limit=1000")
    return 1000 * sum(client.time_call("GET", path)[0] for path in paths)


if __name__ == "__main__":
    main()
