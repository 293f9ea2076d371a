"""Moments on their way into the database and out of it."""

from __future__ import annotations

import datetime as dt

import pytest

from dag_engine.storage import moments


def test_a_moment_is_written_in_utc_with_six_digits() -> None:
    plain = dt.datetime(2026, 1, 31, 12, 0, tzinfo=dt.UTC)
    assert moments.to_text(plain) == "2026-01-31 12:00:00.000000"
    zone = dt.timezone(dt.timedelta(hours=8))
    shanghai = dt.datetime(2026, 1, 31, 20, 0, 0, 7, tzinfo=zone)
    assert moments.to_text(shanghai) == "2026-01-31 12:00:00.000007"
    assert moments.to_text(None) is None


def test_a_moment_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without time zone"):
        moments.to_text(dt.datetime(2026, 1, 31))  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize(
    "stored",
    ["2026-01-31 12:00:00.000007", dt.datetime(2026, 1, 31, 12, 0, 0, 7)],  # noqa: DTZ001 - as drivers give it
)
def test_a_stored_moment_is_read_as_utc(stored: str | dt.datetime) -> None:
    expected = dt.datetime(2026, 1, 31, 12, 0, 0, 7, tzinfo=dt.UTC)
    assert moments.from_database(stored) == expected
    assert moments.from_database(None) is None
