"""Reads a JSON file that nothing is wrong with by the standard library's parser, written in C.

It tells no places and accepts more than we do, so whatever raises a doubt is left to
`json_reader`, which says what is wrong, and where. That takes six times as long.
"""

from __future__ import annotations

import re
from json import JSONDecoder
from typing import Any, NoReturn

from dag_engine.core.dagfile.limits import MAX_CONTAINERS, MAX_DEPTH, MAX_NODES
from dag_engine.core.dagfile.scalars import read_float, read_integer

# An escape that may stand for NUL or for half a character.
_DOUBTFUL_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])").search


class _DoubtError(ValueError):
    """Something is not as it should be, or perhaps not."""


def read_easy_json(text: str) -> dict[str, Any] | None:
    """Return the mapping that a text holds, or None where that is to be looked at closely."""
    n_containers = text.count("{") + text.count("[")
    if n_containers > MAX_CONTAINERS or 2 * (n_containers + text.count(",")) > MAX_NODES:
        return None
    if "\\u" in text and _DOUBTFUL_ESCAPE(text):
        return None
    try:
        root = _decode(text)
    except (ValueError, RecursionError):
        return None
    return root if isinstance(root, dict) and _is_flat_enough(root) else None


def _make_mapping(members: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(members)
    if len(mapping) != len(members):
        raise _DoubtError("a key stands twice")
    return mapping


def _refuse_constant(name: str) -> NoReturn:
    raise _DoubtError(name)


_decode = JSONDecoder(
    object_pairs_hook=_make_mapping,
    parse_int=read_integer,
    parse_float=read_float,
    parse_constant=_refuse_constant,
).decode


def _is_flat_enough(root: dict[str, Any]) -> bool:
    level: list[Any] = [root]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for container in level
            for child in (container.values() if container.__class__ is dict else container)
            if child.__class__ is dict or child.__class__ is list
        ]
        if not level:
            return True
    return False
