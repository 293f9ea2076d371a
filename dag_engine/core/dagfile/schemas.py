"""Compiled validators of the algorithms' parameter schemas, and where a schema names data sets,
connections and secrets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonschema_rs
import msgspec

DATASET = "dataset-id"
CONNECTION = "connection"
SECRET = "secret"
INLINE_SECRET = "password"
"""A place that wants the secret itself: `format: password` or `writeOnly`. A DAG file is no place
for one.
"""

_MAX_COMPILED = 2048
_MAX_SCHEMA_DEPTH = 12
_ANY_ITEM = object()
_ANY_KEY = object()

Pattern = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class ParamsSchema:
    """What is known of the parameters of an algorithm.

    `validator` is None where the schema itself is unsound (`defect` says how). `properties` are the
    declared names; `is_open` tells that the schema means to take any others. `references` has for
    each format that occurs the places whose values name a data set, a connection or a secret.
    """

    validator: jsonschema_rs.Validator | None
    defect: str
    properties: dict[str, Any]
    is_open: bool
    references: dict[str, list[Pattern]]


def compile_schema(schema: dict[str, Any]) -> ParamsSchema:
    """Return the compiled form of a schema; equal schemas are compiled once."""
    return _compile(msgspec.json.encode(schema, order="deterministic"))


@lru_cache(maxsize=_MAX_COMPILED)
def _compile(canonical: bytes) -> ParamsSchema:
    schema = msgspec.json.decode(canonical)
    try:
        validator = jsonschema_rs.Draft202012Validator(schema, retriever=_refuse_to_fetch)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        return ParamsSchema(None, str(error).splitlines()[0][:200], {}, True, {})
    additional = schema.get("additionalProperties", False)
    return ParamsSchema(
        validator=validator,
        defect="",
        properties=schema.get("properties", {}),
        is_open=additional is not False or "patternProperties" in schema,
        references={
            name: places
            for name in (DATASET, CONNECTION, SECRET, INLINE_SECRET)
            if (places := _find_places(schema, name))
        },
    )


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError(f"A parameter schema must be complete, and refers to {uri}.")


def _find_places(schema: dict[str, Any], name: str) -> list[Pattern]:
    """List the places where the schema gives a value this format; `$ref` is followed, so far that
    a schema that contains itself comes to an end.
    """
    places: dict[Pattern, None] = {}
    stack: list[tuple[Any, Pattern, int]] = [(schema, (), 0)]
    while stack:
        part, place, depth = stack.pop()
        if not isinstance(part, dict) or depth > _MAX_SCHEMA_DEPTH:
            continue
        if _find_format(part) == name:
            places[place] = None
        for child, step in _list_parts(schema, part):
            stack.append((child, place if step is None else (*place, step), depth + 1))
    return list(places)


def _find_format(part: dict[str, Any]) -> object:
    found = part.get("format")
    is_hidden = part.get("writeOnly") is True and found not in (CONNECTION, SECRET)
    return INLINE_SECRET if is_hidden else found


def _list_parts(schema: dict[str, Any], part: dict[str, Any]) -> Iterator[tuple[Any, object]]:
    reference = part.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target: Any = schema
        for key in reference[2:].split("/"):
            target = target.get(key, {}) if isinstance(target, dict) else {}
        yield target, None
    for word in ("anyOf", "oneOf", "allOf"):
        for child in part.get(word, ()):
            yield child, None
    for name, child in part.get("properties", {}).items():
        yield child, name
    yield part.get("items"), _ANY_ITEM
    yield part.get("additionalProperties"), _ANY_KEY


def find_references(
    schema: ParamsSchema, name: str, params: dict[str, Any]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Tell where parameters name a data set, connection or secret, and which; an integer is its
    text.
    """
    for path, value in find_values(schema, name, params):
        if isinstance(value, str) and value:
            yield path, value
        elif isinstance(value, int) and not isinstance(value, bool):
            yield path, str(value)


def find_values(
    schema: ParamsSchema, name: str, params: dict[str, Any]
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Tell what stands at the places of a format, whatever it is."""
    for place in schema.references.get(name, ()):
        yield from _walk(params, place)


def _walk(value: Any, place: Pattern) -> list[tuple[tuple[str | int, ...], Any]]:
    found: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    for step in place:
        if step is _ANY_ITEM:
            found = [
                ((*path, number), item)
                for path, part in found
                if isinstance(part, list)
                for number, item in enumerate(part)
            ]
        else:
            found = [
                ((*path, key), item)
                for path, part in found
                if isinstance(part, dict)
                for key, item in part.items()
                if step is _ANY_KEY or key == step
            ]
    return found
