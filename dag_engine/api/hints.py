"""Tells the scheduler of new runs: at once, or together where several are posted at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

LONGEST_S = 0.03
"""How long a run may wait until the scheduler is told of it."""


class StartHints:
    """Gathers the runs that are started at the same time.

    A scheduler that takes them up one by one walks each by itself, in small batches and on the
    cores that are accepting the others; told of together, they are done sooner, all of them.

    Parameters
    ----------
    tell : callable
        Tells the scheduler of runs, by their ids. What it cannot tell is lost: the scheduler finds
        it within a second.
    longest_s : float
        Seconds after which a run is told of, whatever is still under way.
    """

    def __init__(self, tell: Callable[[list[str]], None], *, longest_s: float = LONGEST_S) -> None:
        self._tell = tell
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._n_starting = 0
        self._untold: list[str] = []
        self._timer: threading.Timer | None = None

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """Gather what is noted within; the last one to leave tells of it."""
        with self._lock:
            self._n_starting += 1
        try:
            yield
        finally:
            self._leave()

    def note(self, run_id: str) -> None:
        """Note a run that was accepted; only within `gathered`."""
        with self._lock:
            self._untold.append(run_id)

    def _leave(self) -> None:
        runs: list[str] = []
        with self._lock:
            self._n_starting -= 1
            if not self._n_starting:
                runs = self._take()
            elif self._untold and self._timer is None:
                runs = self._set_timer()
        if runs:
            self._tell(runs)

    def _set_timer(self) -> list[str]:
        """See to it that they are told of in time; give them back where no thread is to be had."""
        self._timer = threading.Timer(self._longest_s, self._tell_late)
        self._timer.daemon = True
        try:
            self._timer.start()
        except RuntimeError:
            return self._take()
        return []

    def _tell_late(self) -> None:
        with self._lock:
            runs = self._take()
        if runs:
            self._tell(runs)

    def _take(self) -> list[str]:
        runs, self._untold = self._untold, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return runs
