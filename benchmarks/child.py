"""Runs one contender in a process of its own: `python -m benchmarks.child pool|dask|ray WORKERS`.

Each line of input names a case (`chain`, or `chain quick`); the answer is a line of JSON. The end
of the input ends the process.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Protocol, TextIO

from benchmarks.graphs import Case, make_cases
from benchmarks.work import RESULTS


class Contender(Protocol):
    """What can run a case without the engine."""

    version: str

    def run(self, case: Case) -> tuple[float, list[Any]]:
        """Return the seconds from the start to the last result, and the results of all sinks."""

    def close(self) -> None:
        """End what was started."""


def make_contender(kind: str, n_workers: int) -> Contender:
    """Start a contender; raises ImportError where its library is not installed."""
    if kind == "pool":
        from benchmarks.pool import PoolContender

        return PoolContender(n_workers)
    if kind == "dask":
        from benchmarks.dask_cluster import DaskContender

        return DaskContender(n_workers)
    from benchmarks.ray_cluster import RayContender

    return RayContender(n_workers)


def check_results(case: Case, results: list[Any]) -> None:
    """Check that every sink brought what its algorithm computes; raises ValueError if not."""
    wanted = [RESULTS[sink.algorithm] for graph in case.graphs for sink in graph.find_sinks()]
    if results != wanted:
        raise ValueError(f"{case.name} brought {results[:3]}, expected {wanted[:3]}")


def answer_lines(contender: Contender, answers: TextIO) -> None:
    """Run what is asked for until the input ends."""
    for line in sys.stdin:
        name, _, form = line.strip().partition(" ")
        case = make_cases(is_quick=form == "quick")[name]
        seconds, results = contender.run(case)
        check_results(case, results)
        _write(answers, {"seconds": seconds})


def main() -> None:
    kind, n_workers = sys.argv[1], int(sys.argv[2])
    # Answers go to the original stdout alone: libraries that print must not mix in.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        contender = make_contender(kind, n_workers)
    except ImportError as error:
        _write(answers, {"missing": str(error)})
        return
    _write(answers, {"version": contender.version})
    try:
        answer_lines(contender, answers)
    finally:
        contender.close()


def _write(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
