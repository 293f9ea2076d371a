"""Keeps one namespace from flooding the service: how often runs may be started, and how many may be
open.

Reading, cancelling and health are never limited, so whoever has started too much can look at it
and end it.
"""

from __future__ import annotations

import math
import mmap
import threading
import time
import zlib
from collections.abc import Callable

from dag_engine.api.errors import TooManyRequestsError

_BURST_S = 10.0
_ROUNDING_S = 1e-6
_N_CELLS = 2**16
_COUNTED_FOR_S = 1.0
_COME_AGAIN_S = 5


class StartRate:
    """How many runs a namespace may start in a second, counted over all workers.

    A namespace may save up the starts of ten seconds. The memory is mapped before the fork and
    shared; each cell holds the moment until which the starts so far are paid for (the generic cell
    rate algorithm), in the monotonic seconds of the machine. Two workers that write one cell at the
    same time may let one start more through, which is harmless, so there is no lock between them. A
    cell is found by a digest of the name: of a hundred namespaces two share one, and so the rate,
    in one installation of fourteen.
    """

    def __init__(self, per_s: float) -> None:
        self._interval_s = 1.0 / per_s if per_s else 0.0
        self._memory = mmap.mmap(-1, 8 * _N_CELLS)
        self._cells = memoryview(self._memory).cast("d")
        self._lock = threading.Lock()

    def take(self, namespace: str, now_s: float) -> float:
        """Count one start; give the seconds after which it may be tried again, 0 if it may now."""
        cell = zlib.crc32(namespace.encode()) % _N_CELLS
        with self._lock:
            paid_until_s = max(now_s, self._cells[cell]) + self._interval_s
            ahead_s = max(_BURST_S, self._interval_s)
            if paid_until_s - now_s > ahead_s + _ROUNDING_S:
                return paid_until_s - now_s - ahead_s
            self._cells[cell] = paid_until_s
        return 0.0


class OpenRuns:
    """How many runs of a namespace are not over: counted at most once a second, and by what this
    worker has started since.
    """

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._counted: dict[str, tuple[float, int]] = {}

    def number(self, namespace: str, now_s: float) -> int:
        """Give the number."""
        with self._lock:
            former = self._counted.get(namespace)
            if former is not None:
                counted_at, n_open = former
                if now_s - counted_at < _COUNTED_FOR_S:
                    return n_open
                # the others go on with the old number while this thread counts
                self._counted[namespace] = now_s, n_open
        try:
            n_open = self._count(namespace)
        except Exception:
            with self._lock:
                if former is not None:
                    self._counted[namespace] = former
            raise
        with self._lock:
            self._counted[namespace] = now_s, n_open
        return n_open

    def add(self, namespace: str) -> None:
        """Count one that was just started."""
        with self._lock:
            if namespace in self._counted:
                counted_at, n_open = self._counted[namespace]
                self._counted[namespace] = counted_at, n_open + 1


class FloodGate:
    """Refuses starts beyond the limits; 0 is no limit."""

    def __init__(self, per_s: float, max_open: int, count: Callable[[str], int]) -> None:
        self._per_s = per_s
        self._max_open = max_open
        self._rate = StartRate(per_s)
        self._open = OpenRuns(count)

    def check(self, namespace: str) -> None:
        """Raise `TooManyRequestsError` where this namespace may start no run just now."""
        now_s = time.monotonic()
        if self._per_s and (wait_s := self._rate.take(namespace, now_s)):
            raise TooManyRequestsError(
                "too_many_starts",
                f"The namespace {namespace} starts more than {self._per_s:g} runs in a second.",
                math.ceil(wait_s),
            )
        if self._max_open and self._open.number(namespace, now_s) >= self._max_open:
            raise TooManyRequestsError(
                "too_many_open_runs",
                f"The namespace {namespace} has {self._max_open} runs that are not over.",
                _COME_AGAIN_S,
            )

    def note_start(self, namespace: str) -> None:
        """Count a run that was accepted."""
        self._open.add(namespace)
