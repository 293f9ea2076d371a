"""The limit: a plain process pool that walks a graph and keeps nothing."""

from __future__ import annotations

import multiprocessing
import queue
import time
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from benchmarks.graphs import Case, Graph
from benchmarks.work import FUNCTIONS


class PoolContender:
    """Walks graphs with `concurrent.futures`: what is ready is handed out at once."""

    version = ""

    def __init__(self, n_workers: int) -> None:
        self._pool = ProcessPoolExecutor(n_workers, mp_context=multiprocessing.get_context("spawn"))

    def run(self, case: Case) -> tuple[float, list[Any]]:
        """Return the seconds from the start to the last result, and the results of all sinks."""
        walk = _Walk(self._pool, case.graphs)
        began = time.perf_counter()
        results = walk.run()
        seconds = time.perf_counter() - began
        return seconds, [
            results[i, sink.name]
            for i, graph in enumerate(case.graphs)
            for sink in graph.find_sinks()
        ]

    def close(self) -> None:
        """End the workers."""
        self._pool.shutdown()


class _Walk:
    """One walk over graphs; a node is known by the number of its graph and its name."""

    def __init__(self, pool: ProcessPoolExecutor, graphs: tuple[Graph, ...]) -> None:
        self._pool = pool
        self._nodes = {
            (i, node.name): node for i, graph in enumerate(graphs) for node in graph.nodes
        }
        self._n_missing = {key: len(node.parents) for key, node in self._nodes.items()}
        self._children: dict[tuple[int, str], list[tuple[int, str]]] = {
            key: [] for key in self._nodes
        }
        for (i, name), node in self._nodes.items():
            for parent in node.parents:
                self._children[i, parent].append((i, name))
        self._results: dict[tuple[int, str], Any] = {}
        self._ended: queue.SimpleQueue[tuple[tuple[int, str], Future[Any]]] = queue.SimpleQueue()

    def run(self) -> dict[tuple[int, str], Any]:
        for key, n_missing in self._n_missing.items():
            if not n_missing:
                self._submit(key)
        while len(self._results) < len(self._nodes):
            key, future = self._ended.get()
            self._results[key] = future.result()
            for child in self._children[key]:
                self._n_missing[child] -= 1
                if not self._n_missing[child]:
                    self._submit(child)
        return self._results

    def _submit(self, key: tuple[int, str]) -> None:
        node = self._nodes[key]
        brought = [self._results[key[0], parent] for parent in node.parents]
        future = self._pool.submit(FUNCTIONS[node.algorithm], *brought)
        future.add_done_callback(lambda future: self._ended.put((key, future)))
