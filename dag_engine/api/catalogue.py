"""What can be run, where, and by whom."""

from __future__ import annotations

import difflib

from flask import Response

from dag_engine.api.answers import json_answer
from dag_engine.api.calls import Answer, Query, Resource, text
from dag_engine.api.errors import NotFoundError
from dag_engine.api.services import services
from dag_engine.api.views import show_algorithm, show_algorithm_shortly, show_engine, show_executor
from dag_engine.storage import engines as stored_engines

catalogue = Resource("catalogue", "Catalogue")
_INTERNAL_FAMILY = "internal"


def _whole(items: list[dict[str, object]]) -> Response:
    return json_answer({"items": items, "next_cursor": None})


@catalogue.call(
    "GET",
    "/algorithms",
    {200: Answer("The algorithms.", "[Algorithm]")},
    query=(text("family", "Only algorithms of this family."),),
)
def list_algorithms(query: Query) -> Response:
    """List what can be run."""
    offers = services().catalogue().algorithms.values()
    wanted = query["family"]
    return _whole(
        [
            show_algorithm_shortly(offer)
            for offer in sorted(offers, key=lambda offer: (offer.family, offer.name))
            if (wanted or offer.family) == offer.family and offer.family != _INTERNAL_FAMILY
        ]
    )


@catalogue.call("GET", "/algorithms/<name>", {200: Answer("The algorithm.", "Algorithm")})
def get_algorithm(query: Query, name: str) -> Response:
    """Get an algorithm: ports, JSON Schema of the parameters, titles, documentation."""
    known = services().catalogue().algorithms
    if name not in known:
        nearest = difflib.get_close_matches(name, known, 1, 0.5)
        raise NotFoundError(
            "unknown_algorithm",
            f"No algorithm {name[:100]!r} was ever offered.",
            f"Did you mean {nearest[0]}?" if nearest else "GET /algorithms lists all.",
        )
    return json_answer(show_algorithm(known[name]))


@catalogue.call("GET", "/executors", {200: Answer("The executors.", "[Executor]")})
def list_executors(query: Query) -> Response:
    """List the executors with the labels that choose them, and which operator engines have them."""
    shown: dict[str, dict[str, object]] = {}
    engines: dict[str, list[dict[str, object]]] = {}
    for record in stored_engines.list_executors(services().database):
        shown.setdefault(record.offer.name, show_executor(record.offer))
        engines.setdefault(record.offer.name, []).append(
            {"id": record.engine_id, "is_alive": record.is_alive, "slots": record.offer.slots}
        )
    return _whole([item | {"operator_engines": engines[name]} for name, item in shown.items()])


@catalogue.call("GET", "/operator-engines", {200: Answer("The engines.", "[OperatorEngine]")})
def list_operator_engines(query: Query) -> Response:
    """List the operator engines."""
    found = stored_engines.list_engines(services().database)
    return _whole([show_engine(engine) for engine in found])
