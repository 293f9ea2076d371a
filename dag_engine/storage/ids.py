"""Ids that sort by the time at which they were made."""

from __future__ import annotations

import datetime as dt

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 19
N_RANDOM_BITS = 43
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def new_id(letter: str, now: dt.datetime, random_bits: int) -> str:
    """Make a letter and 19 base32 characters: 52 bits of microseconds, then 43 random bits."""
    value = ((now - _EPOCH) // _MICROSECOND) << N_RANDOM_BITS
    value |= random_bits & ((1 << N_RANDOM_BITS) - 1)
    digits = [_ALPHABET[(value >> shift) & 31] for shift in range(5 * (_LENGTH - 1), -1, -5)]
    return letter + "".join(digits)


def new_run_id(now: dt.datetime, random_bits: int) -> str:
    """Make the id of a run; `random_bits` come from a good source."""
    return new_id("r", now, random_bits)


def new_dag_id(now: dt.datetime, random_bits: int) -> str:
    """Make the id of a dag."""
    return new_id("d", now, random_bits)
