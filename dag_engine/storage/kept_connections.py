"""Keeps connections that were used lately at hand: to take one out of SQLAlchemy's pool and put it
back takes as long as most reads do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Connection

_LONGEST_S = 60.0
"""After so long a connection goes back to the pool, which knows how old it may become."""


class KeptConnections:
    """A few connections of the pool that stay out of it between their uses.

    Parameters
    ----------
    take : callable
        Takes a connection out of the pool; it may have to wait for one.
    most : int
        So many are kept while nobody uses them; others go back at once.
    """

    def __init__(self, take: Callable[[], Connection], most: int) -> None:
        self._take = take
        self._most = most
        self._lock = threading.Lock()
        self._free: list[tuple[Connection, float]] = []
        self._n_waiting = 0

    @contextmanager
    def lent(self) -> Iterator[Connection]:
        """Lend a connection, which is used again unless something goes wrong with it."""
        connection, taken_at = self._find() or self._open()
        try:
            yield connection
        except BaseException:
            was_lost = connection.invalidated
            connection.close()
            if was_lost:  # so are the others, mostly
                self.clear()
            raise
        self._give_back(connection, taken_at)

    def clear(self) -> None:
        """Put all that are free back into the pool."""
        with self._lock:
            free, self._free = self._free, []
        for connection, _ in free:
            connection.close()

    def _find(self) -> tuple[Connection, float] | None:
        with self._lock:
            if self._free:
                return self._free.pop()
            self._n_waiting += 1
        return None

    def _open(self) -> tuple[Connection, float]:
        try:
            return self._take(), time.monotonic()
        finally:
            with self._lock:
                self._n_waiting -= 1

    def _give_back(self, connection: Connection, taken_at: float) -> None:
        is_old = time.monotonic() - taken_at > _LONGEST_S
        with self._lock:
            # Whoever waits for the pool hears of what is put back there alone.
            is_kept = not (self._n_waiting or is_old or len(self._free) >= self._most)
            if is_kept:
                self._free.append((connection, taken_at))
        if not is_kept:
            connection.close()
