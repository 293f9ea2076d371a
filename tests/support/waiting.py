"""Waiting for a condition with a deadline; tests never sleep and hope."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def wait_until(
    condition: Callable[[], Found], timeout_s: float = 10.0, message: Callable[[], str] | str = ""
) -> Found:
    """Wait until the condition gives something true, and give it back; else fail with the
    message.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = 0.001
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            said = message() if callable(message) else message
            raise AssertionError(f"not within {timeout_s:g} s: {said or condition}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.05)
