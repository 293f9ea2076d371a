"""Makes control characters visible: what others wrote must not steer a terminal."""

from __future__ import annotations

import re
from typing import Any

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_PICTURES = 0x2400
_DELETE = "\x7f"


def show_controls(value: Any) -> Any:
    r"""Replace control and direction characters by their pictures, in all texts of plain data.

    Line ends and tabs stay.

    Examples
    --------
    >>> show_controls({"text": "\x1b[31mred\r\n", "n": 1})
    {'text': '␛[31mred\n', 'n': 1}
    """
    if isinstance(value, str):
        return _STEERING.sub(_picture, value.replace("\r\n", "\n"))
    if isinstance(value, list):
        return [show_controls(item) for item in value]
    if isinstance(value, dict):
        return {show_controls(key): show_controls(item) for key, item in value.items()}
    return value


def has_controls(text: str) -> bool:
    """Tell whether a text may steer a terminal."""
    return _STEERING.search(text) is not None


def escape_controls(text: str) -> str:
    r"""Escape control and direction characters in a JSON text: it says the same as before.

    Examples
    --------
    >>> escape_controls('"\x7f"')
    '"\\u007f"'
    """
    return _STEERING.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _picture(found: re.Match[str]) -> str:
    character = found.group()
    if character < " ":
        return chr(_PICTURES + ord(character))
    return "␡" if character == _DELETE else f"<U+{ord(character):04X}>"
