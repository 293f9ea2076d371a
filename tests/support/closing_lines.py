"""Figures for people: what a test records here stands at the end of the terminal's output, also
where other processes ran it.
"""

from __future__ import annotations

from collections.abc import Callable

NAME = "closing line"
Record = Callable[[str, object], None]
"""pytest's fixture `record_property`."""


def record_closing_lines(record_property: Record, text: str) -> None:
    """Have every line of a text shown at the end."""
    for line in text.splitlines():
        record_property(NAME, line)
