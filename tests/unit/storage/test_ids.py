"""Ids sort by time."""

from __future__ import annotations

import datetime as dt
import secrets

from hypothesis import given
from hypothesis import strategies as st

from dag_engine.storage.ids import N_RANDOM_BITS, new_dag_id, new_run_id

MOMENTS = st.datetimes(
    min_value=dt.datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=dt.datetime(2110, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    timezones=st.just(dt.UTC),
)
BITS = st.integers(min_value=0, max_value=2**N_RANDOM_BITS - 1)


def test_an_id_is_a_letter_and_19_lower_case_characters() -> None:
    made = new_run_id(dt.datetime(1970, 1, 1, tzinfo=dt.UTC), 31)
    assert made == "r" + "0" * 18 + "z"
    assert new_dag_id(dt.datetime(1970, 1, 1, tzinfo=dt.UTC), 32) == "d" + "0" * 17 + "10"


def test_one_microsecond_stands_above_all_random_bits() -> None:
    # 2^43 in digits of 5 bits: 43 = 8 * 5 + 3, so digit 8 from the right holds 2^3 = 8.
    made = new_run_id(dt.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC), 0)
    assert made == "r" + "0" * 10 + "8" + "0" * 8


@given(MOMENTS, BITS, MOMENTS, BITS)
def test_a_later_id_is_greater(
    first: dt.datetime, first_bits: int, second: dt.datetime, second_bits: int
) -> None:
    one, two = new_run_id(first, first_bits), new_run_id(second, second_bits)
    assert len(one) == len(two) == 20
    assert (one < two) == ((first, first_bits) < (second, second_bits))


def test_a_clock_that_is_set_back_again_and_again_repeats_no_id() -> None:
    """The same microseconds come thousands of times; what is random keeps the ids apart."""
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    made = [
        new_run_id(start + dt.timedelta(microseconds=i % 5), secrets.randbits(N_RANDOM_BITS))
        for i in range(20_000)
    ]
    assert len(set(made)) == len(made)
