"""Several threads that do the same at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Found = TypeVar("Found")


def run_at_once(n_threads: int, work: Callable[[int], Found]) -> list[Found]:
    """Let so many threads begin together, each with its number; give what each found, or raise."""
    barrier = threading.Barrier(n_threads)

    def begin(number: int) -> Found:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(begin, range(n_threads)))
