"""Where in the text every value stands, kept as one offset a node."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from dag_engine.core.problems import PathPart

_LINE_BREAK = re.compile(r"\r\n|\n|\r")
_LOOKUP_SIZE = 64


class Positions:
    """Finds line and column of a path in a document.

    `marks` has for every container (by `id`) the offsets of its members: of every key and value of
    a mapping, of every item of a list. The document must live as long as this object and must not
    be changed.
    """

    def __init__(
        self, text: str, root: Any, root_offset: int, marks: Mapping[int, Sequence[int]]
    ) -> None:
        self._text = text
        self._root = root
        self._root_offset = root_offset
        self._marks = marks
        self._line_starts: list[int] | None = None
        self._key_numbers: dict[int, dict[str, int]] = {}

    def find(self, path: Sequence[PathPart], *, is_key: bool = False) -> tuple[int, int]:
        """Return line and column of the value (or of its key) at a path, or of the deepest part of
        the path that exists.
        """
        offset, node = self._root_offset, self._root
        for depth, part in enumerate(path):
            number = self._number(node, part)
            if number is None:
                break
            marks = self._marks[id(node)]
            if isinstance(node, list):
                offset, node = marks[number], node[number]
                continue
            wants_key = is_key and depth == len(path) - 1
            offset, node = marks[2 * number + (0 if wants_key else 1)], node[part]
        return self.line_and_column(offset)

    def _number(self, node: Any, part: PathPart) -> int | None:
        if isinstance(node, list) and isinstance(part, int):
            return part if 0 <= part < len(node) else None
        if not isinstance(node, dict) or not isinstance(part, str) or part not in node:
            return None
        if len(node) <= _LOOKUP_SIZE:
            return list(node).index(part)
        numbers = self._key_numbers.get(id(node))
        if numbers is None:
            numbers = {key: number for number, key in enumerate(node)}
            self._key_numbers[id(node)] = numbers
        return numbers[part]

    def line_and_column(self, offset: int) -> tuple[int, int]:
        """Turn an offset of the text into line and column, both counted from 1."""
        if self._line_starts is None:
            self._line_starts = find_line_starts(self._text)
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1


def find_line_starts(text: str) -> list[int]:
    """List the offset at which every line of a text starts."""
    return [0, *(match.end() for match in _LINE_BREAK.finditer(text))]
