"""Builds the values of a document out of its parts, in the order in which a parser meets them.

Both parsers feed it. It holds the limits that are common to both: depth, number of nodes,
duplicate keys, keys that are no text. Problems that leave the rest readable are gathered and the
place is filled with null; the others end the reading.
"""

from __future__ import annotations

from array import array
from typing import Any, NoReturn

from dag_engine.core.dagfile.limits import MAX_CONTAINERS, MAX_DEPTH
from dag_engine.core.problems import MAX_PROBLEMS, Path, PathPart, shorten


class UnreadableError(Exception):
    """The document cannot be read on; the last problem of the builder says why."""


class _Dropped:
    """Stands as key for a member that is refused, until its mapping is complete."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class TreeProblem:
    """A problem found while reading, with its offset in the text."""

    __slots__ = ("code", "hint", "message", "offset", "path")

    def __init__(self, code: str, message: str, hint: str, path: Path, offset: int) -> None:
        self.code = code
        self.message = message
        self.hint = hint
        self.path = path
        self.offset = offset


class TreeBuilder:
    """Takes the parts of one document and makes its value and the offsets of all its nodes."""

    def __init__(self) -> None:
        self.roots: list[Any] = []
        self.marks: dict[int, array[int]] = {}
        self.problems: list[TreeProblem] = []
        # The document itself is the only item of an outermost list.
        self._container: Any = self.roots
        self._offsets: array[int] = array("I")
        self._is_list = True
        self._key: Any = None
        self._has_dropped = False
        self._stack: list[tuple[Any, array[int], bool, Any]] = []
        self.root_offsets = self._offsets

    @property
    def wants_key(self) -> bool:
        """Whether the next part is the key of a mapping."""
        return not self._is_list and self._key is None

    def add(self, value: Any, offset: int) -> None:
        """Take a scalar: an item, a value, or a key."""
        if self._is_list:
            self._container.append(value)
            self._offsets.append(offset)
        elif self._key is None:
            self._add_key(value, offset)
        else:
            self._container[self._key] = value
            self._offsets.append(offset)
            self._key = None

    def _add_key(self, value: Any, offset: int) -> None:
        self._offsets.append(offset)
        if value.__class__ is not str:
            self._refuse_key(shorten(value), offset)
        elif value in self._container:
            self.report(
                "duplicate_key",
                f"The key {shorten(value)} stands twice in one mapping.",
                offset,
                "Remove or rename one of the two.",
                name=value,
            )
            self._drop_member(value)
        else:
            self._key = value

    def _refuse_key(self, name: str, offset: int) -> None:
        self.report(
            "key_not_string",
            f"A key must be text, and {name} is not.",
            offset,
            "Put the key into double quotes.",
            name=name,
        )
        self._drop_member(name)

    def _drop_member(self, name: str) -> None:
        self._key = _Dropped(name)
        self._has_dropped = True

    def drop_key(self, name: str, offset: int) -> None:
        """Take a key that was reported already; what follows it is read and forgotten."""
        self._offsets.append(offset)
        self._drop_member(name)

    def open(self, child: Any, offset: int) -> None:
        """Start a mapping (`{}`) or a list (`[]`): all parts go into it until `close`."""
        key_after = None
        if self.wants_key:
            # A mapping or list as key: read it into nothing.
            self._offsets.append(offset)
            self._refuse_key("a mapping or list", offset)
            key_after = self._key
        else:
            self.add(child, offset)
        if len(self._stack) >= MAX_DEPTH:
            self.fail(
                "too_deep",
                f"The document is nested deeper than {MAX_DEPTH} levels.",
                offset,
                "Flatten the parameters.",
            )
        if len(self.marks) >= MAX_CONTAINERS:
            self.fail_too_many(MAX_CONTAINERS, "mappings and lists", offset)
        self._stack.append((self._container, self._offsets, self._is_list, key_after))
        self._container = child
        self._offsets = self.marks[id(child)] = array("I")
        self._is_list = child.__class__ is list
        self._key = None

    def close(self) -> None:
        """End the innermost mapping or list."""
        if self._has_dropped and not self._is_list:
            self._forget_dropped()
        self._container, self._offsets, self._is_list, self._key = self._stack.pop()

    def _forget_dropped(self) -> None:
        members = list(self._container)
        kept = [number for number, key in enumerate(members) if key.__class__ is str]
        self._offsets[:] = array(
            "I", (self._offsets[2 * n + side] for n in kept for side in (0, 1))
        )
        for key in members:
            if key.__class__ is not str:
                del self._container[key]

    def report(
        self, code: str, message: str, offset: int, hint: str = "", *, name: str = ""
    ) -> None:
        """Record a problem of the part at `offset`; the reading goes on unless there are too
        many. `name` is the text of a part that may be a key.
        """
        path = (*self.path(), name) if self.wants_key else self.path()
        self.problems.append(TreeProblem(code, message, hint, path, offset))
        if len(self.problems) > MAX_PROBLEMS:
            raise UnreadableError

    def fail(self, code: str, message: str, offset: int, hint: str = "") -> NoReturn:
        """Record a problem that ends the reading."""
        self.problems.append(TreeProblem(code, message, hint, self.path(), offset))
        raise UnreadableError

    def fail_too_many(self, limit: int, what: str, offset: int) -> NoReturn:
        """End the reading of a document with too many nodes."""
        self.fail(
            "too_many_nodes",
            f"The document has more than {limit:,} {what}.",
            offset,
            "Split the DAG, or keep large lists in a dataset.",
        )

    def path(self) -> Path:
        """Return the path of the part that is being read."""
        path: list[PathPart] = [_last_member(container) for container, *_ in self._stack[1:]]
        if self._stack and self._is_list:
            path.append(len(self._container))
        elif self._key is not None:
            path.append(_plain(self._key))
        return tuple(path)


def _last_member(container: Any) -> PathPart:
    if container.__class__ is list:
        return len(container) - 1
    return _plain(next(reversed(container))) if container else ""


def _plain(key: Any) -> str:
    return key.name if isinstance(key, _Dropped) else key
