"""Who the service takes a caller for."""

from __future__ import annotations

from flask import Response

from dag_engine.api.access import caller
from dag_engine.api.answers import json_answer
from dag_engine.api.calls import Answer, Query, Resource
from dag_engine.core.access import Role

callers = Resource("callers", "Access")


@callers.call("GET", "/caller", {200: Answer("Who calls.", "Caller")}, role=Role.VIEWER)
def get_caller(query: Query) -> Response:
    """Tell who calls: the token's name, its role, and the namespace in which it acts."""
    who = caller()
    return json_answer({"name": who.name, "role": who.role.word, "namespace": who.namespace})
