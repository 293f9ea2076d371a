"""Ray on this machine, where it is installed; it is no dependency of the project."""

from __future__ import annotations

import time
from typing import Any

import ray

from benchmarks.graphs import Case, Graph
from benchmarks.work import FUNCTIONS


class RayContender:
    """Submits all tasks at once; Ray itself waits for the references among their arguments."""

    version = ray.__version__

    def __init__(self, n_workers: int) -> None:
        ray.init(num_cpus=n_workers, include_dashboard=False, log_to_driver=False)
        self._functions = {name: ray.remote(function) for name, function in FUNCTIONS.items()}

    def run(self, case: Case) -> tuple[float, list[Any]]:
        """Return the seconds from the start to the last result, and the results of all sinks."""
        began = time.perf_counter()
        sinks = [sink for graph in case.graphs for sink in self._submit(graph)]
        results = ray.get(sinks)
        return time.perf_counter() - began, results

    def close(self) -> None:
        """End everything that Ray started."""
        ray.shutdown()

    def _submit(self, graph: Graph) -> list[Any]:
        references: dict[str, Any] = {}
        for node in graph.nodes:
            brought = [references[parent] for parent in node.parents]
            references[node.name] = self._functions[node.algorithm].remote(*brought)
        return [references[sink.name] for sink in graph.find_sinks()]
