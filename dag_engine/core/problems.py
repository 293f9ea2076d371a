"""One refusal of a DAG file: what is wrong, where, and how it is cured."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

MAX_PROBLEMS = 1000
"""So many problems of one file are told; the rest are counted."""

PathPart = str | int
Path = tuple[PathPart, ...]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a DAG file at one place.

    `code` is stable and meant for programs, `message` and `hint` are sentences for people.
    `pointer` is a JSON pointer (RFC 6901) into the document; `line` and `column` count from 1 and
    are None where the input has no text (parameter overrides). `port` is the number of the port
    spoken of.
    """

    code: str
    message: str
    operator: str | None = None
    port: int | None = None
    pointer: str = ""
    line: int | None = None
    column: int | None = None
    hint: str = ""


def make_pointer(path: Iterable[PathPart]) -> str:
    """Write a path as a JSON pointer.

    >>> make_pointer(("dag", "a/b", 0, "m~n"))
    '/dag/a~1b/0/m~0n'
    """
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def shorten(value: object, limit: int = 80) -> str:
    """Show a value in a sentence: quoted where it is text, cut where it is long."""
    if isinstance(value, str):
        text = value if len(value) <= limit else value[:limit] + "…"
        return f"'{text}'"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"a mapping of {len(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return str(value)[:limit]
