"""What an unquoted YAML scalar means: the core schema of YAML 1.2, and text where releases of YAML
disagree.

So `no`, `on`, `2024-01-31`, `12:30:45`, `010` and `1_000` are text, as the reader sees them.
"""

from __future__ import annotations

import math
import re
from typing import Any

from dag_engine.core.dagfile.limits import MAX_INTEGER, MAX_NUMBER_CHARACTERS, MIN_INTEGER

WORDS: dict[str, Any] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_NUMBER_STARTS = frozenset("0123456789+-.")
_DECIMAL = re.compile(r"[-+]?+([0-9]*+)(\.[0-9]*+)?+([eE][-+]?+[0-9]++)?+").fullmatch
_BASED = re.compile(r"0x[0-9a-fA-F]++|0o[0-7]++").fullmatch
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)").fullmatch


class ScalarError(ValueError):
    """A scalar that means a number which is refused."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def resolve_plain(text: str) -> Any:
    """Return the value of an unquoted scalar; raise `ScalarError` for a number that is refused.

    >>> [resolve_plain(text) for text in ("1", "0x1F", "0.5", "1e3", "~", "no", "010", "1:30")]
    [1, 31, 0.5, 1000.0, None, 'no', '010', '1:30']
    """
    if text in WORDS:
        return WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    match = _DECIMAL(text)
    if match is None:
        return _resolve_other(text) if text[0] in "0+-." else text
    whole, fraction, exponent = match.groups()
    if fraction is None:
        if not whole or (len(whole) > 1 and whole[0] == "0"):
            return text
        return read_integer(text) if exponent is None else read_float(text)
    return read_float(text) if whole or len(fraction) > 1 else text


def _resolve_other(text: str) -> Any:
    if _BASED(text):
        return read_integer(text[2:].lstrip("0") or "0", 16 if text[1] == "x" else 8)
    if _NOT_FINITE(text):
        raise ScalarError("not_finite", f"'{text}' is no finite number.")
    return text


def read_integer(text: str, base: int = 10) -> int:
    """Read an integer of 64 bits; the length is looked at first, for long ones are slow to read."""
    if len(text) <= 24:
        value = int(text, base)
        if MIN_INTEGER <= value <= MAX_INTEGER:
            return value
    raise ScalarError(
        "int_out_of_range", f"An integer of {len(text)} digits does not fit into 64 bits."
    )


def read_float(text: str) -> float:
    """Read a float that is finite."""
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise ScalarError(
            "number_too_long", f"A number of {len(text)} characters is longer than any float needs."
        )
    value = float(text)
    if not math.isfinite(value):
        raise ScalarError("not_finite", f"'{text[:40]}' is beyond the largest float.")
    return value
