"""Figures that have to be counted: remembered for a while, so that nobody waits long for them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from dag_engine.storage.errors import StorageError

log = logging.getLogger(__name__)

T = TypeVar("T")

_SHARE = 100
"""Counting takes a hundredth of the time at most: a figure is good for so many times its count."""
_PATIENCE_S = 0.02
_OLDEST_S = 120.0


class AgedFigure(Generic[T]):
    """A figure that is counted anew where it is old, in a thread of its own.

    Whoever asks for an old one waits for the new count for a moment, and takes the old one if it is
    not there by then, or at once if somebody else has it counted already; one that is older than
    two minutes is not given at all. Errors of the database come through only where there is nothing
    else to tell.
    """

    def __init__(
        self,
        count: Callable[[], T],
        *,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._count = count
        self._clock = clock
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._found: T | None = None
        self._counted_at: float | None = None
        self._took_s = 0.0
        self._is_counting = threading.Lock()

    def get(self) -> T:
        """Return the figure, at most two minutes old."""
        age_s = self._age_s()
        if age_s is not None and age_s <= _SHARE * self._took_s:
            return self._told()
        if age_s is None or age_s > _OLDEST_S:
            return self._count_here()
        if self._is_counting.locked():
            return self._told()
        done = threading.Event()
        threading.Thread(
            target=self._count_aside, args=(done,), name="figures", daemon=True
        ).start()
        done.wait(self._patience_s)
        return self._told()

    def _age_s(self) -> float | None:
        with self._lock:
            return None if self._counted_at is None else self._clock() - self._counted_at

    def _told(self) -> T:
        with self._lock:
            return self._found  # type: ignore[return-value]  # there is one by now

    def _count_here(self) -> T:
        """Count, or wait for the count of somebody else."""
        with self._is_counting:
            age_s = self._age_s()
            if age_s is None or age_s > _OLDEST_S:
                self._count_now()
        return self._told()

    def _count_aside(self, done: threading.Event) -> None:
        try:
            if not self._is_counting.acquire(blocking=False):
                return  # somebody was quicker
            try:
                self._count_now()
            except StorageError as error:
                log.warning("figure_not_counted detail=%s", error)
            finally:
                self._is_counting.release()
        finally:
            done.set()

    def _count_now(self) -> None:
        began = self._clock()
        found = self._count()
        with self._lock:
            self._found, self._counted_at = found, self._clock()
            self._took_s = self._counted_at - began
