"""Writes statements with their rows out as text for MySQL: far fewer round trips than one a row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pymysql.converters import escape_string

from dag_engine.storage.batch_rows import Row
from dag_engine.storage.statements import Statement

_MESSAGE_LENGTH = 2 * 1024 * 1024
_ROWS_LENGTH = 1024 * 1024
_SPECIAL = re.compile(r"[\0\n\r\x1a\"'\\]")


def literal(value: Any) -> str:
    """Write a value as an SQL literal; our sessions' sql_mode leaves backslash escapes on."""
    if value is None:
        return "NULL"
    if type(value) is str:
        return f"'{escape_string(value)}'" if _SPECIAL.search(value) else f"'{value}'"
    if type(value) is int:
        return str(value)
    if type(value) is float:
        return repr(value)
    if type(value) is bytes:
        return f"x'{value.hex()}'"
    if isinstance(value, str):  # a state of the scheduler's is a StrEnum
        return literal(str(value))
    raise TypeError(f"no literal for {type(value).__name__}")


def _render_bulk(statement: Statement, rows: list[Row]) -> Iterator[str]:
    pieces: list[str] = []
    length = 0
    for row in rows:
        piece = "(" + ",".join([literal(value) for value in row]) + ")"
        pieces.append(piece)
        length += len(piece)
        if length > _ROWS_LENGTH:
            yield statement.head + ",".join(pieces) + statement.tail
            pieces, length = [], 0
    if pieces:
        yield statement.head + ",".join(pieces) + statement.tail


def render(statement: Statement, rows: list[Row]) -> Iterator[str]:
    """Write the statement out with its rows: few long statements for an insert, else one a row."""
    if statement.head:
        yield from _render_bulk(statement, rows)
        return
    for row in rows:
        yield statement.sql % tuple([literal(value) for value in row])


def gather(statements: Iterator[str]) -> Iterator[str]:
    """Join statements into messages, each of about 2 MiB at most."""
    pieces: list[str] = []
    length = 0
    for statement in statements:
        if pieces and length + len(statement) > _MESSAGE_LENGTH:
            yield ";".join(pieces)
            pieces, length = [], 0
        pieces.append(statement)
        length += len(statement)
    if pieces:
        yield ";".join(pieces)
