"""Virtual time: what happens when, in one order that a seed decides."""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Callable
from typing import Any

from dag_engine.scheduler.clock import Clock

START = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


class Timeline:
    """Runs what was planned in the order of its moments; moments are seconds since the start."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._counter = 0

    def after(self, delay_s: float, work: Callable[..., None], *arguments: Any) -> None:
        """Plan something."""
        self._counter += 1
        heapq.heappush(self._heap, (self.now + delay_s, self._counter, work, arguments))

    def run_until(self, moment: float) -> None:
        """Let time pass. What runs may let time pass itself: then this ends later."""
        heap = self._heap
        while heap and heap[0][0] <= moment:
            at, _, work, arguments = heapq.heappop(heap)
            self.now = max(self.now, at)
            work(*arguments)
        self.now = max(self.now, moment)


class VirtualClock(Clock):
    """The clocks of one machine; `skew_s` is how far its wall clock is off."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.skew_s = 0.0

    def monotonic(self) -> float:
        """Return the seconds since the start."""
        return self._timeline.now

    def now(self) -> dt.datetime:
        """Return what the machine takes for the present moment."""
        return START + dt.timedelta(seconds=self._timeline.now + self.skew_s)
