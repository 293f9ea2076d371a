"""Signs of life, for people and for supervisors."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from flask import Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from dag_engine.api.answers import json_answer
from dag_engine.api.calls import Answer, Query, Resource
from dag_engine.api.metrics import ServiceCollector
from dag_engine.api.services import Services, services
from dag_engine.api.wellbeing import DEGRADED, OK, Surroundings, look_around
from dag_engine.core.access import Role
from dag_engine.storage.errors import DatabaseUnavailableError
from dag_engine.storage.schema import require_schema

health = Resource("health", "Health", prefix="")
_SIGN = {200: Answer("It lives.")}


@cache
def program_version() -> str:
    """Return the version of the program that runs; `0` where it was never installed."""
    try:
        return version("dagengine")
    except PackageNotFoundError:
        return "0"


@health.call("GET", "/livez", _SIGN, role=Role.ANYBODY)
def get_livez(query: Query) -> Response:
    """Tell that this process answers; the database is not asked."""
    return json_answer({"status": "alive"})


@health.call(
    "GET", "/readyz", {200: Answer("Ready."), 503: Answer("Not ready.")}, role=Role.ANYBODY
)
def get_readyz(query: Query) -> Response:
    """Tell whether the database can be reached and its schema is current."""
    require_schema(services().database)
    return json_answer({"status": "ready"})


@health.call("GET", "/healthz", {200: Answer("The components.", "Health")}, role=Role.ANYBODY)
def get_healthz(query: Query) -> Response:
    """Tell how the components are, with their last sign of life; these to an operator alone.

    Others learn whether all is well: the components bear the names of hosts.
    """
    here = services()
    parts = look_around(Surroundings(here.config, here.database, here.scheduler_status))
    components = here.since.show(parts)
    is_well = all(part.status == OK for part in parts)
    health: dict[str, Any] = {"status": OK if is_well else DEGRADED}
    if _is_operator(here):
        health["components"] = components
    return json_answer(health)


def _is_operator(here: Services) -> bool:
    try:
        found = here.tokens.find(request.headers.get("Authorization", ""))
    except DatabaseUnavailableError:
        return False
    return found is not None and found.role >= Role.OPERATOR


@health.call("GET", "/version", {200: Answer("The version.", "Version")}, role=Role.ANYBODY)
def get_version(query: Query) -> Response:
    """Tell the version."""
    return json_answer({"name": "dagengine", "version": program_version(), "api": "v1"})


@health.call(
    "GET",
    "/metrics",
    {200: Answer("Figures for Prometheus.", types=("text/plain",))},
    role=Role.OPERATOR,
)
def get_metrics(query: Query) -> Response:
    """Give figures for Prometheus, over all processes of the service."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ServiceCollector(services()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
