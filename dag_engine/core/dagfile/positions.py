"""Where in the text every value stands, kept as one offset a node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from dag_engine.core.problems import PathPart

_CHUNK = 64 * 1024
_LOOKUP_SIZE = 64


class Places(Protocol):
    """Tells where things stand."""

    def find(self, path: Sequence[PathPart], *, is_key: bool = False) -> tuple[int, int]:
        """Return line and column of the value (or of its key) at a path, or of the deepest part of
        the path that exists.
        """


class LatePositions:
    """Positions that are only worked out when something is wrong."""

    def __init__(self, make: Callable[[], Places]) -> None:
        self._make = make
        self._made: Places | None = None

    def find(self, path: Sequence[PathPart], *, is_key: bool = False) -> tuple[int, int]:
        """Return line and column, as `Positions`."""
        if self._made is None:
            self._made = self._make()
        return self._made.find(path, is_key=is_key)


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
        self._lines: LineIndex | None = None
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
        if self._lines is None:
            self._lines = LineIndex(self._text)
        return self._lines.find(offset)


class LineIndex:
    r"""Counts the lines before an offset.

    The breaks (`\n`, `\r\n` or `\r`) are counted once for every 64 KiB of text, so that a
    file of nothing but line breaks costs no more than any other.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._has_returns = "\r" in text
        self._before = [0]
        for start in range(0, len(text), _CHUNK):
            self._before.append(self._before[-1] + self._count(start, start + _CHUNK))

    def _count(self, start: int, end: int) -> int:
        """Count the breaks that begin in a part: of a pair cut in two only the first half."""
        count = self._text.count("\n", start, end)
        if self._has_returns:
            count += self._text.count("\r", start, end)
            count -= self._text.count("\r\n", max(start - 1, 0), end)
        return count

    def find(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset, both counted from 1."""
        chunk = offset // _CHUNK
        line = self._before[chunk] + self._count(chunk * _CHUNK, offset) + 1
        start = self._text.rfind("\n", 0, offset) + 1
        if self._has_returns:
            start = max(start, self._text.rfind("\r", start, offset) + 1)
        return line, offset - start + 1
