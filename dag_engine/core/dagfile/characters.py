"""Characters that have no place in a DAG file, or none in a name."""

from __future__ import annotations

import re

# Databases and C libraries end a text at NUL, and a lone surrogate has no UTF-8 form.
_NEVER = re.compile("[\x00\ud800-\udfff]")

# Control characters, zero-width characters and those that reverse the direction of writing: two
# names that look the same would differ.
_NOT_IN_NAMES = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ufffe\uffff]"
)


def find_forbidden(text: str) -> str | None:
    """Return the first character that no text may hold: NUL or a lone surrogate."""
    match = _NEVER.search(text)
    return match.group() if match else None


def find_invisible(text: str) -> str | None:
    """Return the first control, zero-width or direction character of a name."""
    match = _NOT_IN_NAMES.search(text)
    return match.group() if match else None


def describe(character: str) -> str:
    """Name a character by its code point: `U+202E`."""
    return f"U+{ord(character):04X}"
