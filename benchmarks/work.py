"""The same work as the benchmark's algorithms, for contenders that call plain functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

N_CALLS = [0]
"""How many tasks this process has carried out: tells whether a contender merged tasks."""


def do_nothing(*_parents: Any) -> dict[str, int]:
    """Return what `bench_noop` returns."""
    N_CALLS[0] += 1
    return {"value": 0}


def compute_fibonacci(*_parents: Any) -> dict[str, int]:
    """Return what `bench_fibonacci` returns for its default."""
    N_CALLS[0] += 1
    return {"value": _fibonacci(10)}


def count_calls() -> int:
    """Tell how many tasks this process has carried out."""
    return N_CALLS[0]


def _fibonacci(n: int) -> int:
    return n if n < 2 else _fibonacci(n - 1) + _fibonacci(n - 2)


FUNCTIONS: dict[str, Callable[..., dict[str, int]]] = {
    "bench_noop": do_nothing,
    "bench_fibonacci": compute_fibonacci,
}
RESULTS = {"bench_noop": {"value": 0}, "bench_fibonacci": {"value": 55}}
