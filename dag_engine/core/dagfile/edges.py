"""Checks the edges of a DAG file and the operators that stand in for others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from dag_engine.core.dagfile.collector import ProblemCollector
from dag_engine.core.dagfile.document import DagDocument, Edge
from dag_engine.core.dagfile.limits import MAX_INTEGER
from dag_engine.core.graph import (
    MAX_ALTERNATIVES,
    add_alternatives,
    build_graph,
    find_cycles,
    follow_alternatives,
)
from dag_engine.core.nearest import NameFinder, hint_nearest
from dag_engine.core.problems import Path, shorten

EDGE_KEYS = ("target", "source_index", "target_index")
_EDGE_KEY_SET = frozenset(EDGE_KEYS)
_MAX_NAMED = 20


def read_edges(
    relations: dict[str, Any],
    described: Collection[str],
    collector: ProblemCollector,
    names: NameFinder,
) -> list[Edge]:
    """Return the sound edges between described operators, in the order of the file."""
    reader = _EdgeReader(described, collector, names)
    for source, items in relations.items():
        reader.read_source(source, items)
    return reader.edges


class _EdgeReader:
    def __init__(
        self, described: Collection[str], collector: ProblemCollector, names: NameFinder
    ) -> None:
        self.edges: list[Edge] = []
        self._described = described
        self._collector = collector
        self._names = names

    def read_source(self, source: str, items: Any) -> None:
        """Take all edges of one source."""
        path = ("dag", "operator_rels", source)
        if source not in self._described:
            self._collector.add(
                "edge_from_nowhere",
                f"Edges come from {shorten(source)}, which is no operator.",
                path,
                operator=source,
                hint=hint_nearest(self._names.find(source, self._described), "Remove the edges."),
                is_key=True,
            )
        if items is None:
            return
        if not isinstance(items, list):
            message = f"The edges of an operator must be a list, and are {shorten(items)}."
            self._collector.add("wrong_type", message, path, operator=source)
            return
        seen: set[tuple[str, int, int]] = set()
        for number, item in enumerate(items):
            edge = self._read_edge(source, number, item)
            if edge is None:
                continue
            key = (edge.target, edge.source_port, edge.target_port)
            if key in seen:
                self._collector.add(
                    "edge_twice",
                    f"The edge from output {edge.source_port} of '{source}' to input "
                    f"{edge.target_port} of '{edge.target}' stands twice.",
                    (*path, number),
                    operator=source,
                    port=edge.source_port,
                    hint="Remove one of the two.",
                )
            elif source in self._described:
                seen.add(key)
                self.edges.append(edge)

    def _read_edge(self, source: str, number: int, item: Any) -> Edge | None:
        path = ("dag", "operator_rels", source, number)
        if not isinstance(item, dict):
            message = f"An edge must be a mapping, and is {shorten(item)}."
            self._collector.add("wrong_type", message, path, operator=source)
            return None
        if not item.keys() <= _EDGE_KEY_SET:
            self._add_unknown_keys(item, path)
        source_port = self._read_port(item, "source_index", path)
        target_port = self._read_port(item, "target_index", path)
        target = self._read_target(source, item, path)
        if source_port is None or target_port is None or target is None:
            return None
        return Edge(
            source=source,
            source_port=source_port,
            target=target,
            target_port=target_port,
            number=number,
        )

    def _add_unknown_keys(self, item: dict[str, Any], path: Path) -> None:
        for key in item:
            if key not in EDGE_KEYS:
                known = f"Known are {', '.join(EDGE_KEYS)}."
                self._collector.add(
                    "unknown_key",
                    f"An edge has no key {shorten(key)}.",
                    (*path, key),
                    operator=str(path[2]),
                    hint=hint_nearest(self._names.find(key, EDGE_KEYS), known),
                    is_key=True,
                )

    def _read_port(self, item: dict[str, Any], key: str, path: Path) -> int | None:
        value = item.get(key, 0)
        if value.__class__ is int and 0 <= value <= MAX_INTEGER:
            return int(value)
        is_negative = value.__class__ is int
        noun = "output" if key == "source_index" else "input"
        self._collector.add(
            "bad_port" if is_negative else "wrong_type",
            f"'{key}' must be the number of an {noun} port, from 0, and is {shorten(value)}.",
            (*path, key),
            operator=str(path[2]),
            port=value if is_negative else None,
        )
        return None

    def _read_target(self, source: str, item: dict[str, Any], path: Path) -> str | None:
        target = item.get("target")
        if not isinstance(target, str):
            code = "wrong_type" if "target" in item else "missing_key"
            message = (
                f"The 'target' of an edge must be the id of an operator, and is {shorten(target)}."
            )
            at = (*path, "target") if "target" in item else path
            self._collector.add(code, message, at, operator=source)
            return None
        if target not in self._described:
            self._collector.add(
                "edge_to_nowhere",
                f"An edge of '{source}' goes to {shorten(target)}, which is no operator.",
                (*path, "target"),
                operator=source,
                hint=hint_nearest(self._names.find(target, self._described), "Remove the edge."),
            )
            return None
        if target == source:
            message = f"An edge goes from {shorten(source)} onto itself."
            hint = "Remove the edge."
            self._collector.add("cycle", message, path, operator=source, hint=hint)
            return None
        return target


def check_cycles(
    described: Collection[str], edges: Iterable[Edge], collector: ProblemCollector
) -> bool:
    """Report every cycle by naming its operators in order; return whether there is any."""
    by_ends: dict[tuple[str, str], Edge] = {}
    for edge in edges:
        by_ends.setdefault((edge.source, edge.target), edge)
    cycles = find_cycles(build_graph(described, by_ends))
    for cycle in cycles:
        closing = by_ends[cycle[-1], cycle[0]]
        collector.add(
            "cycle",
            f"The operators form a cycle: {name_cycle(cycle)}.",
            ("dag", "operator_rels", closing.source, closing.number),
            operator=closing.source,
            hint="Remove one of these edges.",
        )
    return bool(cycles)


def name_cycle(cycle: list[str]) -> str:
    """Write a cycle as `a → b → a`, a very long one with its middle left out."""
    if len(cycle) > _MAX_NAMED:
        half = _MAX_NAMED // 2
        left_out = f"… ({len(cycle) - 2 * half:,} more) …"
        return " → ".join([*cycle[:half], left_out, *cycle[-half:], cycle[0]])
    return " → ".join([*cycle, cycle[0]])


def check_alternatives(document: DagDocument, names: NameFinder) -> None:
    """Check that every alternative operator exists and can wait until the other has failed."""
    known = document.operators
    alternatives: dict[str, str] = {}
    for operator, alternative in document.alternatives.items():
        refusal = ""
        hint = "Name an operator of this DAG, or stop or continue."
        if alternative not in known:
            refusal = f"The alternative {shorten(alternative)} is no operator"
            hint = hint_nearest(names.find(alternative, known), hint)
        elif alternative == operator:
            refusal = f"{shorten(operator)} cannot be the alternative of itself"
        if refusal:
            _add_bad_alternative(document, operator, refusal, hint)
        else:
            alternatives[operator] = alternative
    for operator in alternatives:
        if len(follow_alternatives(operator, alternatives)) >= MAX_ALTERNATIVES:
            refusal = f"{MAX_ALTERNATIVES} or more operators in a row stand in for one another"
            _add_bad_alternative(document, operator, refusal, "Shorten the row, or break the ring.")
            return
    _check_alternative_cycles(document, alternatives)


def _check_alternative_cycles(document: DagDocument, alternatives: dict[str, str]) -> None:
    """Refuse an alternative that waits for itself: it runs after its operator and before all that
    its operator feeds.
    """
    known = document.operators
    ends = ((edge.source, edge.target) for edge in document.edges)
    graph = build_graph(known, (pair for pair in ends if pair[0] in known and pair[1] in known))
    if not alternatives or find_cycles(graph):
        return
    standing_in = set(alternatives.values())
    for cycle in find_cycles(add_alternatives(graph, alternatives)):
        culprit = next(name for name in cycle if name in standing_in)
        operator = next(name for name, other in alternatives.items() if other == culprit)
        refusal = f"An alternative would wait for itself: {name_cycle(cycle)}"
        hint = "An operator and its alternative must not depend on each other."
        _add_bad_alternative(document, operator, refusal, hint)


def _add_bad_alternative(document: DagDocument, operator: str, refusal: str, hint: str) -> None:
    document.collector.add(
        "bad_alternative",
        f"{refusal}.",
        ("dag", "operator_details", operator, "run", "on_failure"),
        operator=operator,
        hint=hint,
    )
