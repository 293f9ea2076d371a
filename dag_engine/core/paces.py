"""How long the attempts of each algorithm take, and so how much of an engine's window one takes."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

PLACE = 8
"""Parts of a place in the window. What is known to be brief takes as few as one."""
_PLACE_S = 0.01
"""An attempt that takes so long, or of which nothing is known, takes a whole place."""
_FADING = 0.8
"""A long attempt is remembered by so much less with each shorter one that follows it."""


@dataclass(slots=True)
class Paces:
    """Remembers by executor and algorithm how long attempts took, the longest ones most."""

    _seconds: dict[tuple[str, str], float] = field(default_factory=dict)

    def note(self, executor: str, algorithm: str, took: dt.timedelta) -> None:
        """Note that an attempt succeeded, and how long it took."""
        key = executor, algorithm
        seconds = max(0.0, took.total_seconds())
        self._seconds[key] = max(seconds, _FADING * self._seconds.get(key, seconds))

    def weigh(self, executor: str, algorithm: str) -> int:
        """Return how many parts of a place the next attempt takes, from 1 to `PLACE`."""
        seconds = self._seconds.get((executor, algorithm), _PLACE_S)
        return min(PLACE, 1 + int(PLACE * seconds / _PLACE_S))
