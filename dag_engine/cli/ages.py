"""Spans of time as people write them."""

from __future__ import annotations

import datetime as dt
import re

from dag_engine.cli.errors import UsageError

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def parse_age(text: str) -> dt.timedelta:
    """Read an age such as `12h`, `30d` or `8w`. Raises `UsageError`."""
    match = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no age. Write a number with h, d or w: 12h, 30d, 8w.")
    return dt.timedelta(**{_UNITS[match[2]]: int(match[1])})
