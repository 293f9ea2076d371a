"""Checks the parameters of an operator against its algorithm's schema. Nothing is coerced."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import jsonschema_rs

from dag_engine.core.dagfile.collector import ProblemCollector
from dag_engine.core.dagfile.schemas import (
    CONNECTION,
    DATASET,
    INLINE_SECRET,
    SECRET,
    ParamsSchema,
    compile_schema,
    find_references,
    find_values,
)
from dag_engine.core.nearest import NameFinder, hint_nearest
from dag_engine.core.problems import Path, shorten
from executors.base import AlgorithmOffer

_MAX_ERRORS = 100
_MAX_NODES_FOR_ALL_ERRORS = 2_000
_MAX_MESSAGE = 300


def check_params(
    operator: str,
    params: dict[str, Any],
    offer: AlgorithmOffer,
    path: Path,
    collector: ProblemCollector,
    names: NameFinder,
) -> dict[str, Any]:
    """Report what does not fit and return the parameters as the algorithm is to get them.

    They are the given ones, except that an integer that names a data set becomes its decimal text
    where the algorithm wants text.
    """
    schema = compile_schema(offer.params_schema)
    if schema.validator is None:
        message = f"The algorithm '{offer.name}' has an unsound parameter schema: {schema.defect}."
        hint = "Tell the author of the algorithm."
        collector.add("bad_schema", message, path, operator=operator, hint=hint)
        return params
    deprecated = set(offer.deprecated_params)
    undeclared = [name for name in params if name not in schema.properties]
    checked = params
    if undeclared and not schema.is_open:
        known = [*schema.properties, *offer.deprecated_params]
        for number, name in enumerate(undeclared):
            if collector.is_full:
                collector.count(len(undeclared) - number)
                break
            if name not in deprecated:
                collector.add(
                    "unknown_parameter",
                    f"The algorithm '{offer.name}' has no parameter {shorten(name)}.",
                    (*path, name),
                    operator=operator,
                    hint=hint_nearest(
                        names.find(name, known), f"Known are {', '.join(schema.properties)}."
                    ),
                    is_key=True,
                )
        checked = {name: value for name, value in params.items() if name in schema.properties}
    if schema.validator.is_valid(checked):
        return params
    as_text = name_datasets_by_text(schema, checked)
    if as_text is not checked and schema.validator.is_valid(as_text):
        return params | as_text
    _report_errors(operator, checked, schema, path, collector)
    return params


def name_datasets_by_text(schema: ParamsSchema, params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters in which every integer that names a data set is its decimal text."""
    if DATASET not in schema.references:
        return params
    found = list(find_references(schema, DATASET, params))
    result: Any = params
    for path, text in found:
        result = _replace(result, path, text)
    return result if isinstance(result, dict) and result != params else params


def _replace(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _replace(value[path[0]], path[1:], new)
    return copy


def _report_errors(
    operator: str,
    params: dict[str, Any],
    schema: ParamsSchema,
    path: Path,
    collector: ProblemCollector,
) -> None:
    if collector.is_full:
        collector.count(1)
        return
    hidden = {
        place
        for kind in (CONNECTION, SECRET, INLINE_SECRET)
        for place, _ in find_values(schema, kind, params)
    }
    for error in _list_errors(schema, params):
        kind = error.kind
        at = (*path, *error.instance_path)
        if isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
            name = str(kind.property)
            where = f" in {shorten(str(error.instance_path[-1]))}" if error.instance_path else ""
            message = f"The parameter '{name}' is missing{where}."
            meaning = "" if where else _describe(schema, [name])
            hint = f"Add it. {meaning}".rstrip()
            collector.add("missing_parameter", message, at, operator=operator, hint=hint)
        else:
            name = ".".join(str(part) for part in error.instance_path) or "params"
            place = tuple(error.instance_path)
            is_hidden = any(one[: len(place)] == place for one in hidden)
            told = "does not fit; what came may be secret" if is_hidden else _explain(error)
            message = f"The parameter '{name}' {told}."
            hint = _describe(schema, error.instance_path)
            collector.add("bad_parameter", message, at, operator=operator, hint=hint)


def _describe(schema: ParamsSchema, path: Sequence[str | int]) -> str:
    """Say what the parameter means, in the words of its author."""
    declared = schema.properties.get(str(path[0])) if path else None
    if not isinstance(declared, dict):
        return ""
    titles = [declared[key] for key in ("title", "title_zh") if isinstance(declared.get(key), str)]
    text = declared.get("description")
    sentences = [f"{' / '.join(titles)}." if titles else "", text if isinstance(text, str) else ""]
    return " ".join(sentence for sentence in sentences if sentence)[:_MAX_MESSAGE]


def _list_errors(schema: ParamsSchema, params: dict[str, Any]) -> list[Any]:
    """List the errors, of an alternative in the schema those of the branch that fits best.

    The validator makes all errors at once, so of very large parameters only the first is asked
    for.
    """
    validator = schema.validator
    if validator is None:
        return []
    if _is_large(params):
        try:
            validator.validate(params)
        except jsonschema_rs.ValidationError as error:
            return list(_expand(error))
        return []
    errors = islice(validator.iter_errors(params), _MAX_ERRORS)
    found = [part for error in errors for part in _expand(error)]
    kinds = jsonschema_rs.ValidationErrorKind
    # A word that is not offered is said once, by the words that are, also where it is no text.
    told = {tuple(e.instance_path) for e in found if isinstance(e.kind, kinds.Enum)}
    return [
        e for e in found if not isinstance(e.kind, kinds.Type) or tuple(e.instance_path) not in told
    ]


def _is_large(params: dict[str, Any]) -> bool:
    stack: list[Any] = [params]
    n_nodes = 0
    while stack and n_nodes <= _MAX_NODES_FOR_ALL_ERRORS:
        part = stack.pop()
        children = part.values() if isinstance(part, dict) else part
        n_nodes += len(children)
        if n_nodes <= _MAX_NODES_FOR_ALL_ERRORS:
            stack += [child for child in children if isinstance(child, dict | list)]
    return n_nodes > _MAX_NODES_FOR_ALL_ERRORS


def _expand(error: Any) -> Iterator[Any]:
    """Replace "fits none of these" by what the nearest of these lacks, where one is nearer."""
    branches = getattr(error.kind, "context", None)
    if not branches:
        yield error
        return
    kinds = jsonschema_rs.ValidationErrorKind
    depth = len(error.instance_path)
    nearer = [
        branch
        for branch in branches
        if all(
            len(part.instance_path) > depth
            or not isinstance(part.kind, kinds.Type | kinds.Constant)
            for part in branch
        )
    ]
    if len(nearer) == 1:
        for part in nearer[0]:
            yield from _expand(part)
    else:
        yield error


def _explain(error: Any) -> str:
    """Say what was expected and what came."""
    expected = _list_expected(error)
    if expected:
        return f"must be {' or '.join(expected)}, and is {shorten(error.instance)}"
    message = re.sub(r"\s+", " ", error.message)
    if len(message) > _MAX_MESSAGE:
        message = message[:_MAX_MESSAGE] + "…"
    return f"does not fit: {message}"


def _list_expected(error: Any) -> list[str]:
    kinds = jsonschema_rs.ValidationErrorKind
    kind = error.kind
    if isinstance(kind, kinds.Type):
        return [_NOUNS.get(name, name) for name in kind.types]
    if isinstance(kind, kinds.Constant):
        return [shorten(kind.expected_value)]
    if isinstance(kind, kinds.Enum):
        return [shorten(option) for option in kind.options]
    if isinstance(kind, kinds.AnyOf):
        found = [_list_expected(part) for branch in kind.context for part in branch]
        return [noun for nouns in found for noun in nouns] if all(found) else []
    limits = {
        kinds.Minimum: "at least",
        kinds.Maximum: "at most",
        kinds.ExclusiveMinimum: "above",
        kinds.ExclusiveMaximum: "below",
    }
    for limit, word in limits.items():
        if isinstance(kind, limit):
            return [f"{word} {error.kind.limit}"]
    return []


_NOUNS = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
