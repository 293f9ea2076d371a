"""How long requests took, counted over all workers in memory that they share."""

from __future__ import annotations

import mmap
import struct
import threading
from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
GROUPS = ("2xx", "3xx", "4xx", "5xx")
COUNTED = (429, 503)
"""Statuses that have a count of their own: somebody was asked to come again."""
_N_CELLS = len(BOUNDS_S) + 2
_N_HISTOGRAMS = len(GROUPS) * _N_CELLS
_STREAMS = _N_HISTOGRAMS + len(COUNTED)
_PLACE = struct.Struct(f"{_STREAMS + 1}d")
N_PLACES = 64


class RequestDurations:
    """A histogram per class of status, one block of cells per worker.

    The memory is mapped before the fork and shared; each worker writes only into its own block, so
    no lock is needed between processes. The successor of a worker goes on with its block.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _PLACE.size * N_PLACES)
        self._cells = memoryview(self._memory).cast("d")
        self._lock = threading.Lock()
        self._first = 0

    def take_place(self, place: int) -> None:
        """Write into the block of this place from now on."""
        self._lock = threading.Lock()
        self._first = (place % N_PLACES) * (_PLACE.size // 8)
        self._cells[self._first + _STREAMS] = 0  # those of a dead predecessor are closed

    def note(self, status: int, duration_s: float) -> None:
        """Count one request."""
        group = min(max(status // 100 - 2, 0), len(GROUPS) - 1)
        first = self._first + group * _N_CELLS
        bucket = sum(duration_s > bound for bound in BOUNDS_S)
        with self._lock:
            self._cells[first + bucket] += 1
            self._cells[first + _N_CELLS - 1] += duration_s
            if status in COUNTED:
                self._cells[self._first + _N_HISTOGRAMS + COUNTED.index(status)] += 1

    def note_stream(self, change: int) -> None:
        """Count an answer that lasts as open (1) or closed (-1)."""
        with self._lock:
            self._cells[self._first + _STREAMS] += change

    def _add_up(self, cell: int) -> float:
        step = _PLACE.size // 8
        return sum(self._cells[start] for start in range(cell, step * N_PLACES, step))

    def collect(self) -> Iterator[Metric]:
        """Give the histograms, added up over all workers."""
        family = HistogramMetricFamily(
            "dagengine_http_request_duration_seconds",
            "How long requests took, event streams and waits excepted.",
            labels=["status"],
        )
        step = _PLACE.size // 8
        for number, group in enumerate(GROUPS):
            starts = range(number * _N_CELLS, step * N_PLACES, step)
            sums = [sum(self._cells[start + cell] for start in starts) for cell in range(_N_CELLS)]
            total = 0.0
            buckets = []
            for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], sums, strict=False):
                total += count
                buckets.append((bound, total))
            family.add_metric([group], buckets, sum_value=sums[-1])
        yield family
        refused = CounterMetricFamily(
            "dagengine_http_come_again", "Requests answered 429 or 503.", labels=["status"]
        )
        for number, status in enumerate(COUNTED):
            refused.add_metric([str(status)], self._add_up(_N_HISTOGRAMS + number))
        yield refused
        yield GaugeMetricFamily(
            "dagengine_open_streams",
            "Answers that last: event streams and waits.",
            value=self._add_up(_STREAMS),
        )
