"""The OpenAPI 3.1 document, made from the table of calls."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from dag_engine.api.answers import PROBLEM_TYPE
from dag_engine.api.calls import Answer, Body, Call, Parameter
from dag_engine.api.schemas import SCHEMAS
from dag_engine.core.access import NAMESPACE_HEADER, TOKEN_ROLES, Role

_PATH_PART = re.compile(r"<(?:(?P<kind>\w+):)?(?P<name>\w+)>")
_PATH_KINDS: dict[str, dict[str, Any]] = {
    "number": {"type": "integer", "minimum": 0, "maximum": 999999999},
    "word": {"type": "string"},
    "path": {"type": "string"},
    "": {"type": "string"},
}


_TOKEN_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": (
        f"An API token. It carries a role ({', '.join(TOKEN_ROLES)}; each may do what those before "
        "it may, and `x-role` of a call names the least one) and a namespace, outside of which "
        "nothing is seen. An admin acts in another one by the header "
        f"{NAMESPACE_HEADER}. Where no token was ever made, a service that listens on this "
        "machine alone asks for none."
    ),
}
TAGS = (
    "Definitions",
    "Runs",
    "Logs and outputs",
    "Datasets",
    "Connections and secrets",
    "Catalogue",
    "Access",
    "Health",
    "Operator engines",
    "Documentation",
    "Pages",
)
"""The order in which the documentation shows the resources."""


def make_openapi(calls: Iterable[Call], version: str, *, needs_token: bool) -> dict[str, Any]:
    """Describe the calls, as a service answers them that asks for tokens, or does not yet."""
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        path = _PATH_PART.sub(r"{\g<name>}", call.rule)
        paths.setdefault(path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "DAG engine",
            "version": version,
            "description": "Checks, stores and runs DAGs of operators for machine learning.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": tag} for tag in TAGS],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": _TOKEN_SCHEME},
            "responses": _REFUSALS,
        },
        "security": [{"token": []}] if needs_token else [{"token": []}, {}],
    }


def _operation(call: Call) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": call.name,
        "tags": [call.tag],
        "summary": call.summary,
    }
    if call.about:
        operation["description"] = call.about
    parameters = [
        *(_path_parameter(found) for found in _PATH_PART.finditer(call.rule)),
        *(_query_parameter(parameter) for parameter in call.query),
        *(_header_parameter(name, about) for name, about in call.headers.items()),
    ]
    if parameters:
        operation["parameters"] = parameters
    if call.body is not None:
        operation["requestBody"] = _request_body(call.body)
    operation["responses"] = {
        **{str(status): _answer(status, answer) for status, answer in call.answers.items()},
        "default": _problem("A problem (RFC 9457)."),
    }
    if call.role is Role.ANYBODY:
        operation["security"] = []
    else:
        operation["x-role"] = call.role.word
        for status in _REFUSALS:
            operation["responses"][status] = {"$ref": f"#/components/responses/{status}"}
    return operation


def _problem(about: str) -> dict[str, Any]:
    return {"description": about, "content": {PROBLEM_TYPE: {"schema": _reference("Problem")}}}


def _reference(name: str) -> dict[str, Any]:
    """Refer to a schema; `[Name]` is a page of them."""
    if name.startswith("["):
        items = {"type": "array", "items": _reference(name[1:-1])}
        cursor = {"type": ["string", "null"]}
        return {"type": "object", "properties": {"items": items, "next_cursor": cursor}}
    return {"$ref": f"#/components/schemas/{name}"}


def _path_parameter(found: re.Match[str]) -> dict[str, Any]:
    schema = _PATH_KINDS[found.group("kind") or ""]
    return {"name": found.group("name"), "in": "path", "required": True, "schema": schema}


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    schema = dict(parameter.schema)
    if parameter.default not in (None, [], {}, ""):
        schema["default"] = parameter.default
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.about,
    }
    if schema["type"] == "object":
        described["content"] = {"application/json": {"schema": schema}}
    else:
        described["schema"] = schema
    if schema["type"] == "array":
        described["explode"] = False
    return described


def _header_parameter(name: str, about: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": about, "schema": {"type": "string"}}


def _request_body(body: Body) -> dict[str, Any]:
    names = (body.schema,) * len(body.types) if isinstance(body.schema, str) else body.schema
    content: dict[str, Any] = {media_type: {} for media_type in body.types}
    for media_type, name in zip(body.types, names or (), strict=False):
        content[media_type] = {"schema": _reference(name)}
    described: dict[str, Any] = {"required": body.is_required, "content": content}
    if body.about:
        described["description"] = body.about
    return described


def _answer(status: int, answer: Answer) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.about or HTTPStatus(status).phrase}
    if answer.schema or answer.types != ("application/json",):
        content: dict[str, Any] = {}
        for media_type in answer.types:
            is_json = media_type.endswith("json")
            schema = _reference(answer.schema) if answer.schema and is_json else {"type": "string"}
            content[media_type] = {"schema": schema}
        described["content"] = content
    return described


_REFUSALS = {
    "401": _problem("No token came, or one that is not good."),
    "403": _problem("The token's role is too small, or the host or origin is foreign."),
}
