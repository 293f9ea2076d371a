"""Reports as JSON: plain data, numbers of data libraries included; NaN and infinities are null."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from executors.runtime.errors import InvalidInputError, InvalidOutputError

LIMIT_BYTES = 64 << 20
"""Reports are shown to people; what is longer belongs into a table or a file."""


def encode_report(port: str, value: Any) -> bytes:
    """Return the JSON of a report; JSON knows no NaN, so it and the infinities become null."""
    if not isinstance(value, dict):
        raise InvalidOutputError(
            f"Output {port!r} is a report, so a dict was expected; {type(value).__name__} came."
        )
    try:
        data = msgspec.json.encode(value, enc_hook=_make_plain)
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        raise InvalidOutputError(
            f"Output {port!r} cannot be written as JSON: {error}.",
            "A report holds texts, numbers, lists and dicts with text keys.",
        ) from error
    if len(data) > LIMIT_BYTES:
        raise InvalidOutputError(
            f"Output {port!r} is a report of {len(data)} bytes; {LIMIT_BYTES} are allowed.",
            "Return the bulk of it as a table or a file.",
        )
    return data


def read_report(path: Path) -> dict[str, Any]:
    """Read a stored report."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"The report {path} is damaged: {error}.") from error


def _make_plain(value: Any) -> Any:
    """Turn numpy's scalars and arrays, and whatever else can tell its plain form, into that."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise NotImplementedError(f"{type(value).__name__} is no plain data")
