"""Moments: aware UTC in the program, naive UTC with microseconds in the database."""

from __future__ import annotations

import datetime as dt

UTC = dt.UTC
_LENGTH = len("2026-01-31 12:00:00.000001")


def to_text(moment: dt.datetime | None) -> str | None:
    """Write a moment as both databases store it: `2026-01-31 12:00:00.000001`."""
    if moment is None:
        return None
    if moment.tzinfo is not UTC:
        moment = to_utc(moment)
    return moment.isoformat(" ", "microseconds")[:_LENGTH]


def to_utc(moment: dt.datetime) -> dt.datetime:
    """Express an aware moment in UTC; a naive one is refused, for nobody knows what it means."""
    if moment.tzinfo is None:
        raise ValueError(f"a moment without time zone cannot be stored: {moment!r}")
    return moment.astimezone(UTC)


def from_database(value: str | dt.datetime | None) -> dt.datetime | None:
    """Read a moment as it is stored: text, which a driver may have made a naive datetime of."""
    if value is None:
        return None
    if isinstance(value, str):
        return dt.datetime.fromisoformat(f"{value}+00:00")
    return value.replace(tzinfo=UTC)
