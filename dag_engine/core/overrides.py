"""Parameter overrides of a run: checked like the parameters of the file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dag_engine.core.dagfile.characters import describe, find_forbidden
from dag_engine.core.dagfile.checking import Surroundings, check_references, find_algorithm
from dag_engine.core.dagfile.collector import ProblemCollector
from dag_engine.core.dagfile.document import DagDocument
from dag_engine.core.dagfile.limits import MAX_DEPTH, MAX_INTEGER, MIN_INTEGER
from dag_engine.core.dagfile.parameters import check_params
from dag_engine.core.nearest import hint_nearest
from dag_engine.core.problems import Path, shorten

Overrides = Mapping[str, Mapping[str, Any]]


def apply_overrides(
    document: DagDocument, overrides: Overrides, around: Surroundings, collector: ProblemCollector
) -> dict[str, dict[str, Any]]:
    """Return the parameters of the overridden operators; problems point to `/params/op/name`."""
    merged: dict[str, dict[str, Any]] = {}
    for name, changes in overrides.items():
        path: Path = ("params", name)
        operator = document.operators.get(name)
        if operator is None:
            collector.add(
                "unknown_operator",
                f"There is no operator {shorten(name)} whose parameters could be changed.",
                path,
                operator=name,
                hint=hint_nearest(around.names.find(name, document.operators)),
            )
            continue
        if not isinstance(changes, Mapping):
            message = f"Parameters must be a mapping, and are {shorten(changes)}."
            collector.add("wrong_type", message, path, operator=name)
            continue
        if not _are_plain(name, changes, path, collector):
            continue
        params = operator.params | dict(changes)
        offer = find_algorithm(operator, around, path, collector)
        if offer is not None:
            merged[name] = check_params(name, params, offer, path, collector, around.names)
            check_references(name, params, offer, path, around, collector)
    return merged


def _are_plain(
    operator: str, changes: Mapping[str, Any], path: Path, collector: ProblemCollector
) -> bool:
    """Report values that a DAG file could not hold either."""
    before = len(collector.problems)
    stack: list[tuple[Path, Any]] = [((*path, str(key)), value) for key, value in changes.items()]
    while stack:
        at, value = stack.pop()
        code, message = _find_defect(value)
        if len(at) > MAX_DEPTH:
            code, message = "too_deep", f"is nested deeper than {MAX_DEPTH} levels"
        if code:
            collector.add(code, f"The parameter '{at[2]}' {message}.", at, operator=operator)
        elif isinstance(value, dict):
            stack += [((*at, str(key)), item) for key, item in value.items()]
        elif isinstance(value, list):
            stack += [((*at, number), item) for number, item in enumerate(value)]
    return len(collector.problems) == before


def _find_defect(value: Any) -> tuple[str, str]:
    if isinstance(value, str):
        character = find_forbidden(value)
        return ("bad_character", f"holds {describe(character)}") if character else ("", "")
    if isinstance(value, float) and not math.isfinite(value):
        return "not_finite", "is no finite number"
    if isinstance(value, bool) or value is None or isinstance(value, float | list):
        return "", ""
    if isinstance(value, int):
        fits = MIN_INTEGER <= value <= MAX_INTEGER
        return ("", "") if fits else ("int_out_of_range", "does not fit into 64 bits")
    if isinstance(value, dict):
        is_sound = all(isinstance(key, str) for key in value)
        return ("", "") if is_sound else ("key_not_string", "has a key that is no text")
    return "wrong_type", f"is a {type(value).__name__}, which is no plain data"
