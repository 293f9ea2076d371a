"""What is to be come back to, by the clock that cannot be set."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator

from dag_engine.core.live import Decision, Timer

KEPT = 10_000
"""Where there are more timers than this, those of what has ended are thrown away early."""


class Timers:
    """A heap of timers; `is_wanted` tells of one whether it still means something."""

    def __init__(self, is_wanted: Callable[[Timer], bool]) -> None:
        self._is_wanted = is_wanted
        self._heap: list[tuple[float, int, Timer]] = []
        self._limit = KEPT
        self._counter = itertools.count()

    def add(self, out: Decision, now_s: float) -> None:
        """Take the timers of a decision; `now_s` is the monotonic clock."""
        for timer in out.timers:
            delay_s = max(0.0, (timer.at - out.now).total_seconds())
            heapq.heappush(self._heap, (now_s + delay_s, next(self._counter), timer))
        if len(self._heap) > self._limit:
            self._heap = [entry for entry in self._heap if self._is_wanted(entry[2])]
            heapq.heapify(self._heap)
            self._limit = max(KEPT, 2 * len(self._heap))

    def next_s(self) -> list[float]:
        """Tell when the next one is due, if there is one."""
        return [self._heap[0][0]] if self._heap else []

    def take_due(self, now_s: float) -> Iterator[Timer]:
        """Yield what is due, the earliest first."""
        while self._heap and self._heap[0][0] <= now_s:
            yield heapq.heappop(self._heap)[2]
