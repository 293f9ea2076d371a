"""Calls of operator engines, passed on to the scheduler that leads: one address is enough."""

from __future__ import annotations

from urllib.parse import quote

from flask import Response, request

from dag_engine.api.answers import json_answer
from dag_engine.api.bodies import PROXY_LIMIT_BYTES, read_body
from dag_engine.api.calls import JSON, Answer, Body, Query, Resource
from dag_engine.api.services import services
from dag_engine.core.access import Role
from executors.store import ensure_marker
from executors.transport.http_client import HttpReply

internal = Resource("internal", "Operator engines", prefix="/internal/v1")
_PASSED_ON = {200: Answer("The scheduler's answer.")}
_REGISTRATION_TIMEOUT_S = 30.0
_TIMEOUT_S = 5.0
"""The scheduler answers within 2 s, if only to say that its database is away."""

_BODY = Body((JSON,), about="A message of an operator engine.")


@internal.call(
    "GET",
    "/settings",
    {200: Answer("Where artifacts are kept.", "StoreSettings")},
    role=Role.OPERATOR,
)
def get_engine_settings(query: Query) -> Response:
    """Tell an operator engine where artifacts are kept."""
    store_url = services().config.store_url
    return json_answer({"store_url": store_url, "store_marker": ensure_marker(store_url)})


@internal.call("POST", "/reports", _PASSED_ON, body=_BODY, role=Role.OPERATOR)
def report_outcomes(query: Query) -> Response:
    """Report outcomes of attempts, in a batch."""
    return _pass_on("/reports")


@internal.call("POST", "/operator-engines", _PASSED_ON, body=_BODY, role=Role.OPERATOR)
def register_operator_engine(query: Query) -> Response:
    """Register an operator engine with what it offers and holds."""
    return _pass_on("/operator-engines", _REGISTRATION_TIMEOUT_S)


@internal.call(
    "POST", "/operator-engines/<engine_id>/heartbeat", _PASSED_ON, body=_BODY, role=Role.OPERATOR
)
def beat_operator_engine(query: Query, engine_id: str) -> Response:
    """Give a sign of life of an operator engine."""
    return _pass_on(f"/operator-engines/{quote(engine_id, safe='')}/heartbeat")


@internal.call("DELETE", "/operator-engines/<engine_id>", _PASSED_ON, role=Role.OPERATOR)
def remove_operator_engine(query: Query, engine_id: str) -> Response:
    """Deregister an operator engine with all that it alone offers."""
    return _pass_on(f"/operator-engines/{quote(engine_id, safe='')}")


def _pass_on(path: str, timeout_s: float = _TIMEOUT_S) -> Response:
    body = read_body(PROXY_LIMIT_BYTES)
    reply: HttpReply = services().scheduler.send(
        request.method, internal.prefix + path, body, timeout_s=timeout_s
    )
    kept = {name: reply.headers[name] for name in ("retry-after",) if name in reply.headers}
    return Response(
        reply.body, reply.status, headers=kept, content_type=reply.headers.get("content-type", JSON)
    )
