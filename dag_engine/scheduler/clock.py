"""The two clocks of this machine, as the scheduler reads them."""

from __future__ import annotations

import datetime as dt
import time


class Clock:
    """`monotonic` measures waits and leases; `now` is the wall clock, which may jump."""

    def monotonic(self) -> float:
        """Return seconds since some moment; never goes back."""
        return time.monotonic()

    def now(self) -> dt.datetime:
        """Return the present moment in UTC."""
        return dt.datetime.now(dt.UTC)
