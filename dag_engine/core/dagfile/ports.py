"""Checks that edges and ports fit each other: numbers, types, how many edges a port takes."""

from __future__ import annotations

from collections.abc import Mapping

from dag_engine.core.dagfile.collector import ProblemCollector
from dag_engine.core.dagfile.document import DagDocument, Edge
from dag_engine.core.problems import Path, shorten
from executors.base import AlgorithmOffer, PortSpec

_ANY = "any"


def check_ports(
    document: DagDocument, offers: Mapping[str, AlgorithmOffer], collector: ProblemCollector
) -> None:
    """Report every edge and port that does not fit, of the operators whose algorithm is known."""
    checker = _PortChecker(document, offers, collector)
    for edge in document.edges:
        checker.check_edge(edge)
    for operator in offers:
        checker.check_inputs(operator)
    for operator, alternative in document.alternatives.items():
        checker.check_alternative(operator, alternative)


def fits(source: str, target: str) -> bool:
    """Whether what an output of one type holds may go into an input of another.

    >>> fits("table", "table|model"), fits("report", "table|model"), fits("file", "any")
    (True, False, True)
    """
    return (
        source == target
        or _ANY in (source, target)
        or not set(source.split("|")).isdisjoint(target.split("|"))
    )


class _PortChecker:
    def __init__(
        self,
        document: DagDocument,
        offers: Mapping[str, AlgorithmOffer],
        collector: ProblemCollector,
    ) -> None:
        self._document = document
        self._offers = offers
        self._collector = collector
        self._first_edge: dict[tuple[str, int], Edge] = {}

    def check_edge(self, edge: Edge) -> None:
        """Check both ends of one edge."""
        source = self._find_port(edge, is_source=True)
        target = self._find_port(edge, is_source=False)
        if target is not None:
            first = self._first_edge.setdefault((edge.target, edge.target_port), edge)
            if first is not edge and not target.is_many:
                self._collector.add(
                    "port_taken",
                    f"Input {edge.target_port} ('{target.name}') of '{edge.target}' takes one "
                    f"edge, and comes from both '{first.source}' and '{edge.source}'.",
                    _edge_path(edge),
                    operator=edge.target,
                    port=edge.target_port,
                    hint="Remove one of the two edges.",
                )
        if source is not None and target is not None and not fits(source.type, target.type):
            self._collector.add(
                "port_type_mismatch",
                f"Output {edge.source_port} of '{edge.source}' is a {source.type}, and input "
                f"{edge.target_port} of '{edge.target}' takes {target.type}.",
                _edge_path(edge),
                operator=edge.target,
                port=edge.target_port,
            )

    def _find_port(self, edge: Edge, *, is_source: bool) -> PortSpec | None:
        operator, number = (
            (edge.source, edge.source_port) if is_source else (edge.target, edge.target_port)
        )
        offer = self._offers.get(operator)
        if offer is None:
            return None
        ports = offer.outputs if is_source else offer.inputs
        if number < len(ports):
            return ports[number]
        noun = "output" if is_source else "input"
        known = ", ".join(f"{i} ({port.name})" for i, port in enumerate(ports))
        self._collector.add(
            "bad_port",
            f"The edge from '{edge.source}' to '{edge.target}' names {noun} {number} of "
            f"'{operator}', which has {len(ports)} {noun}{'' if len(ports) == 1 else 's'}.",
            (*_edge_path(edge), "source_index" if is_source else "target_index"),
            operator=operator,
            port=number,
            hint=f"'{offer.name}' has {noun} {known}." if ports else f"It has no {noun}s.",
        )
        return None

    def check_inputs(self, operator: str) -> None:
        """Check that every port that needs an edge has one."""
        offer = self._offers[operator]
        for number, port in enumerate(offer.inputs):
            if port.is_optional or port.is_many or (operator, number) in self._first_edge:
                continue
            self._collector.add(
                "port_unconnected",
                f"Input {number} ('{port.name}') of {shorten(operator)} has no edge.",
                ("dag", "operator_details", operator),
                operator=operator,
                port=number,
                hint=f"Connect it to an output of type {port.type}.",
                is_key=True,
            )

    def check_alternative(self, operator: str, alternative: str) -> None:
        """Check that what stands in has the same outputs."""
        offer, other = self._offers.get(operator), self._offers.get(alternative)
        if offer is None or other is None or _types(offer) == _types(other):
            return
        self._collector.add(
            "bad_alternative",
            f"{shorten(alternative)} has other outputs ({', '.join(_types(other)) or 'none'}) than "
            f"{shorten(operator)} ({', '.join(_types(offer)) or 'none'}) and cannot stand in.",
            ("dag", "operator_details", operator, "run", "on_failure"),
            operator=operator,
            hint="An alternative must have the same output ports.",
        )


def _types(offer: AlgorithmOffer) -> list[str]:
    return [port.type for port in offer.outputs]


def _edge_path(edge: Edge) -> Path:
    return ("dag", "operator_rels", edge.source, edge.number)
