"""The application: all calls, behind one guard."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g
from werkzeug.routing import IntegerConverter, UnicodeConverter

from dag_engine.api.answers import json_answer
from dag_engine.api.cache_story import cache_story
from dag_engine.api.callers import callers
from dag_engine.api.calls import Answer, Call, Query, Resource
from dag_engine.api.catalogue import catalogue
from dag_engine.api.dags import dags
from dag_engine.api.datasets import datasets
from dag_engine.api.guard import Guard, HostList
from dag_engine.api.health import health, program_version
from dag_engine.api.history import history
from dag_engine.api.internal import internal
from dag_engine.api.openapi import make_openapi
from dag_engine.api.outputs import outputs
from dag_engine.api.pages import pages
from dag_engine.api.problems import install_error_handlers
from dag_engine.api.run_control import control
from dag_engine.api.runs import runs
from dag_engine.api.sealed import sealed
from dag_engine.api.services import Services, install_services, services
from dag_engine.api.starts import starts
from dag_engine.config import Config
from dag_engine.core.access import Role
from dag_engine.storage.errors import DatabaseUnavailableError

log = logging.getLogger(__name__)

documentation = Resource("documentation", "Documentation")


class NumberConverter(IntegerConverter):
    """A number in a path that every database can hold."""

    regex = r"\d{1,9}"


class WordConverter(UnicodeConverter):
    """An id in a path: word characters and minus, so that `{id}:verb` is never taken for one."""

    regex = r"\w[\w.-]*"


@documentation.call(
    "GET", "/openapi.json", {200: Answer("The OpenAPI document.")}, role=Role.ANYBODY
)
def get_openapi(query: Query) -> Response:
    """Describe every call as OpenAPI 3.1."""
    return json_answer(make_openapi(all_calls(), program_version(), needs_token=_needs_token()))


def _needs_token() -> bool:
    try:
        return services().tokens.find("") is None
    except DatabaseUnavailableError:
        return True


RESOURCES = (
    dags,
    starts,
    runs,
    control,
    history,
    outputs,
    cache_story,
    catalogue,
    datasets,
    sealed,
    callers,
    health,
    internal,
    documentation,
    pages,
)


def all_calls() -> list[Call]:
    """List every call as it was declared."""
    return [call for resource in RESOURCES for call in resource.calls]


def create_app(config: Config) -> Flask:
    """Make the application; it opens nothing before its first request."""
    app = Flask("dag_engine.api", static_folder=None)
    app.url_map.converters |= {"word": WordConverter, "number": NumberConverter}
    app.url_map.merge_slashes = False
    services = Services(config)
    install_services(app, services)
    install_error_handlers(app)
    hosts = HostList(config.server.host, config.server.allowed_hosts)
    app.after_request(lambda response: _note_duration(services, response))
    Guard(hosts, services.tokens, services.secret, _collect_roles()).install(app)
    for resource in RESOURCES:
        app.register_blueprint(resource.blueprint)
    return app


def _collect_roles() -> dict[str, Role]:
    """Collect the role that each endpoint asks for; one that is not declared is never reached."""
    return {f"{one.name}.{call.name}": call.role for one in RESOURCES for call in one.calls}


def _note_duration(services: Services, response: Response) -> Response:
    if not response.is_streamed and "began_at" in g and not g.get("is_waiting"):
        services.durations.note(response.status_code, time.perf_counter() - g.began_at)
    return response
