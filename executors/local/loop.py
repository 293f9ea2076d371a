"""The supervisor's event loop: file descriptors, timers, and a flush after each round."""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable

_CLEAN_AT = 1000


class Timer:
    """A call at a moment of the monotonic clock, unless cancelled before."""

    __slots__ = ("_loop", "callback")

    def __init__(self, loop: Loop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call."""
        if self.callback is not None:
            self.callback = None
            self._loop.note_cancelled()


class Loop:
    """Calls back when a file descriptor is ready or a moment has come.

    Sleeps without end when nothing is due.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._n_cancelled = 0
        self._is_stopped = False

    def watch(self, fd: int, on_ready: Callable[[int], None], events: int) -> None:
        """Call `on_ready(mask)` whenever the descriptor is ready."""
        self._selector.register(fd, events, on_ready)

    def rewatch(self, fd: int, on_ready: Callable[[int], None], events: int) -> None:
        """Change what a watched descriptor is watched for."""
        self._selector.modify(fd, events, on_ready)

    def forget(self, fd: int) -> None:
        """No longer watch the descriptor; to be called before it is closed."""
        self._selector.unregister(fd)

    def call_after(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call once after `delay_s` seconds."""
        timer = Timer(self, callback)
        entry = (time.monotonic() + delay_s, next(self._numbers), timer)
        heapq.heappush(self._timers, entry)
        return timer

    def note_cancelled(self) -> None:
        """Throw cancelled timers away once they are the greater part."""
        self._n_cancelled += 1
        if self._n_cancelled > _CLEAN_AT and 2 * self._n_cancelled > len(self._timers):
            self._timers = [entry for entry in self._timers if entry[2].callback is not None]
            heapq.heapify(self._timers)
            self._n_cancelled = 0

    def stop(self) -> None:
        """End `run` after the present round."""
        self._is_stopped = True

    def run(self, flush: Callable[[], None]) -> None:
        """Go on until `stop`; `flush` is called once after the callbacks of each round."""
        while not self._is_stopped:
            for key, mask in self._selector.select(self._until_next_timer_s()):
                key.data(mask)
            self._run_timers()
            flush()

    def _until_next_timer_s(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
            self._n_cancelled -= 1
        if not self._timers:
            return None
        return max(0.0, self._timers[0][0] - time.monotonic())

    def _run_timers(self) -> None:
        now = time.monotonic() if self._timers else 0.0
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is None:
                self._n_cancelled -= 1
            else:
                callback()
