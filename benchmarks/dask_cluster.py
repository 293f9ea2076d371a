"""Dask distributed on this machine: worker processes with one thread each, no dashboard."""

from __future__ import annotations

import itertools
import time
from typing import Any

import distributed

from benchmarks.graphs import Case, Graph
from benchmarks.work import FUNCTIONS, count_calls


class DaskContender:
    """Gives whole graphs to the scheduler at once, which measured faster than task by task."""

    version = distributed.__version__

    def __init__(self, n_workers: int) -> None:
        self._cluster = distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=None
        )
        self._client = distributed.Client(self._cluster)
        self._numbers = itertools.count(1)

    def run(self, case: Case) -> tuple[float, list[Any]]:
        """Return the seconds from the start to the last result, and the results of all sinks."""
        prepared = [self._make_tasks(graph) for graph in case.graphs]
        began = time.perf_counter()
        pending = [self._client.get(tasks, sinks, sync=False) for tasks, sinks in prepared]
        results = self._client.gather(pending)
        seconds = time.perf_counter() - began
        return seconds, [value for of_graph in results for value in of_graph]

    def count_calls(self) -> int:
        """Tell how many tasks the workers have really carried out."""
        return sum(self._client.run(count_calls).values())

    def close(self) -> None:
        """End scheduler and workers."""
        self._client.close()
        self._cluster.close()

    def _make_tasks(self, graph: Graph) -> tuple[dict[str, tuple[Any, ...]], list[str]]:
        """Give every task a key of its own, so that no former result serves."""
        prefix = f"run-{next(self._numbers)}-"
        tasks = {
            prefix + node.name: (
                FUNCTIONS[node.algorithm],
                *[prefix + parent for parent in node.parents],
            )
            for node in graph.nodes
        }
        return tasks, [prefix + sink.name for sink in graph.find_sinks()]
