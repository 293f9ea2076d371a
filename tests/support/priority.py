"""Lets tests that only compute give way to others that measure how soon something goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_LOWEST = 19


@contextmanager
def giving_way() -> Iterator[None]:
    """Work at the lowest priority, where this process may take its own back afterwards."""
    if os.geteuid():
        yield
        return
    former = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, _LOWEST)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, former)
