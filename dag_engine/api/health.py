"""Signs of life, for people and for supervisors."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from flask import Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from dag_engine.api.answers import json_answer
from dag_engine.api.calls import Answer, Query, Resource
from dag_engine.api.metrics import ServiceCollector
from dag_engine.api.services import Services, services
from dag_engine.storage import engines as stored_engines
from dag_engine.storage import leader as stored_leader
from dag_engine.storage.errors import DatabaseUnavailableError
from dag_engine.storage.schema import require_schema

health = Resource("health", "Health", prefix="")
_SIGN = {200: Answer("It lives.")}
_OK, _AWAY = "ok", "away"


@cache
def program_version() -> str:
    """Return the version of the program that runs; `0` where it was never installed."""
    try:
        return version("dagengine")
    except PackageNotFoundError:
        return "0"


@health.call("GET", "/livez", _SIGN)
def get_livez(query: Query) -> Response:
    """Tell that this process answers; the database is not asked."""
    return json_answer({"status": "alive"})


@health.call("GET", "/readyz", {200: Answer("Ready."), 503: Answer("Not ready.")})
def get_readyz(query: Query) -> Response:
    """Tell whether the database can be reached and its schema is current."""
    require_schema(services().database)
    return json_answer({"status": "ready"})


@health.call("GET", "/healthz", {200: Answer("The components.", "Health")})
def get_healthz(query: Query) -> Response:
    """Tell how the components are, with their last sign of life."""
    components: list[dict[str, Any]] = [{"kind": "api", "instance": "", "status": _OK}]
    try:
        found = _look_around(services())
        components += [{"kind": "database", "instance": "", "status": _OK}, *found]
    except DatabaseUnavailableError as error:
        away = {"kind": "database", "instance": "", "status": _AWAY, "detail": error.detail}
        components.append(away)
    is_well = all(component["status"] == _OK for component in components)
    return json_answer({"status": _OK if is_well else "degraded", "components": components})


def _look_around(here: Services) -> list[dict[str, Any]]:
    leader = stored_leader.get_leader(here.database)
    found: list[dict[str, Any]] = [
        {
            "kind": "scheduler",
            "instance": leader.holder if leader else "",
            "status": _OK if leader is not None and leader.is_leading else _AWAY,
            "lease_until": leader.lease_until if leader else None,
        }
    ]
    found += [
        {
            "kind": "operator_engine",
            "instance": engine.id,
            "status": _OK if engine.is_alive else _AWAY,
            "heartbeat_at": engine.heartbeat_at or engine.registered_at,
        }
        for engine in stored_engines.list_engines(here.database)
    ]
    found += [
        {
            "kind": component.kind,
            "instance": component.instance,
            "status": _OK,
            "heartbeat_at": component.heartbeat_at,
        }
        for component in stored_leader.list_components(here.database)
    ]
    return found


@health.call("GET", "/version", {200: Answer("The version.", "Version")})
def get_version(query: Query) -> Response:
    """Tell the version."""
    return json_answer({"name": "dagengine", "version": program_version(), "api": "v1"})


@health.call("GET", "/metrics", {200: Answer("Figures for Prometheus.", types=("text/plain",))})
def get_metrics(query: Query) -> Response:
    """Give figures for Prometheus, over all processes of the service."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ServiceCollector(services()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
