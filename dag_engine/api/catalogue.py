"""What can be run, where, and by whom."""

from __future__ import annotations

import difflib

from flask import Response

from dag_engine.api.answers import json_answer
from dag_engine.api.calls import CURSOR, Answer, Query, Resource, integer, text
from dag_engine.api.errors import NotFoundError
from dag_engine.api.services import services
from dag_engine.api.views import show_algorithm, show_algorithm_shortly, show_engine, show_executor
from dag_engine.core.access import Role
from dag_engine.storage import engines as stored_engines
from dag_engine.storage.paging import number_cursor

catalogue = Resource("catalogue", "Catalogue")
_INTERNAL_FAMILY = "internal"


# so many that whoever does not page gets everything
_PAGE = (integer("limit", "How many items at most.", default=1000, least=1, most=1000), CURSOR)


def _page(items: list[dict[str, object]], query: Query) -> Response:
    """Answer a piece of a list that is short and seldom changes: the cursor is a place in it."""
    start = number_cursor(query["cursor"], 0)
    end = start + query["limit"]
    next_cursor = str(end) if end < len(items) else None
    return json_answer({"items": items[start:end], "next_cursor": next_cursor})


@catalogue.call(
    "GET",
    "/algorithms",
    {200: Answer("The algorithms.", "[Algorithm]")},
    query=(*_PAGE, text("family", "Only algorithms of this family.")),
    role=Role.VIEWER,
)
def list_algorithms(query: Query) -> Response:
    """List what can be run."""
    offers = services().catalogue().algorithms.values()
    wanted = query["family"]
    shown = [
        show_algorithm_shortly(offer)
        for offer in sorted(offers, key=lambda offer: (offer.family, offer.name))
        if (wanted or offer.family) == offer.family and offer.family != _INTERNAL_FAMILY
    ]
    return _page(shown, query)


@catalogue.call(
    "GET", "/algorithms/<name>", {200: Answer("The algorithm.", "Algorithm")}, role=Role.VIEWER
)
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


@catalogue.call(
    "GET",
    "/executors",
    {200: Answer("The executors.", "[Executor]")},
    query=_PAGE,
    role=Role.VIEWER,
)
def list_executors(query: Query) -> Response:
    """List the executors with the labels that choose them, and which operator engines have them."""
    shown: dict[str, dict[str, object]] = {}
    engines: dict[str, list[dict[str, object]]] = {}
    for record in stored_engines.list_executors(services().database):
        shown.setdefault(record.offer.name, show_executor(record.offer))
        engines.setdefault(record.offer.name, []).append(
            {"id": record.engine_id, "is_alive": record.is_alive, "slots": record.offer.slots}
        )
    items = [item | {"operator_engines": engines[name]} for name, item in shown.items()]
    return _page(items, query)


@catalogue.call(
    "GET",
    "/operator-engines",
    {200: Answer("The engines.", "[OperatorEngine]")},
    query=_PAGE,
    role=Role.VIEWER,
)
def list_operator_engines(query: Query) -> Response:
    """List the operator engines."""
    found = stored_engines.list_engines(services().database)
    return _page([show_engine(engine) for engine in found], query)
