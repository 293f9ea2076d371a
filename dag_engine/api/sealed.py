"""Named connections and secrets: what comes in is sealed, and comes out for operators alone."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from flask import Response

from dag_engine.api.access import caller
from dag_engine.api.answers import json_answer, page_answer
from dag_engine.api.bodies import read_json
from dag_engine.api.calls import JSON, Answer, Body, Query, Resource
from dag_engine.api.errors import UnprocessableError
from dag_engine.api.services import services
from dag_engine.api.views import show_sealed
from dag_engine.core.access import Role
from dag_engine.core.connections import leads_somewhere
from dag_engine.core.names import NAME_PATTERN
from dag_engine.storage.secret_rows import SecretKind, SecretPlace
from dag_engine.storage.vault import Listed

sealed = Resource("sealed", "Connections and secrets")

_Name = Annotated[str, msgspec.Meta(pattern=rf"^{NAME_PATTERN}\Z")]
_Text = Annotated[str, msgspec.Meta(min_length=1)]


class NewConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A connection: its URL, or its settings."""

    name: _Name
    url: _Text | msgspec.UnsetType = msgspec.UNSET
    settings: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class NewSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret and its name."""

    name: _Name
    value: _Text


@sealed.call(
    "GET",
    "/connections",
    {200: Answer("The connections, without what they hold.", "[SealedEntry]")},
    role=Role.VIEWER,
)
def list_connections(query: Query) -> Response:
    """List the named connections; what they hold is never answered."""
    return _list("connection")


@sealed.call(
    "POST",
    "/connections",
    {
        201: Answer("The connection is stored.", "SealedEntry"),
        200: Answer("It took the place of another of its name.", "SealedEntry"),
    },
    body=Body((JSON,), "NewConnection", "Its `url`, or `settings` with the parts of one."),
    role=Role.ADMIN,
)
def put_connection(query: Query) -> Response:
    """Store a named connection, sealed; one of the same name is replaced."""
    asked = read_json(NewConnection)
    settings = asked.settings
    if (asked.url is msgspec.UNSET) == (settings is msgspec.UNSET):
        raise UnprocessableError(
            "bad_connection", "Either `url` or `settings` was expected, and not both."
        )
    if settings is msgspec.UNSET:
        settings = {"url": asked.url}
    if not leads_somewhere(settings):
        raise UnprocessableError(
            "bad_connection", "The settings need `url`, or `drivername` with the parts of a URL."
        )
    return _put("connection", asked.name, settings)


@sealed.call(
    "GET",
    "/connections/<word:name>",
    {200: Answer("The connection, without what it holds.", "SealedEntry")},
    role=Role.VIEWER,
)
def get_connection(query: Query, name: str) -> Response:
    """Tell of a named connection; what it holds is never answered."""
    return _get("connection", name)


@sealed.call(
    "DELETE", "/connections/<word:name>", {204: Answer("It is forgotten.")}, role=Role.ADMIN
)
def delete_connection(query: Query, name: str) -> Response:
    """Forget a stored connection."""
    return _delete("connection", name)


@sealed.call(
    "GET",
    "/secrets",
    {200: Answer("The secrets, without their values.", "[SealedEntry]")},
    role=Role.VIEWER,
)
def list_secrets(query: Query) -> Response:
    """List the secrets by name; their values are never answered."""
    return _list("secret")


@sealed.call(
    "POST",
    "/secrets",
    {
        201: Answer("The secret is stored.", "SealedEntry"),
        200: Answer("It took the place of another of its name.", "SealedEntry"),
    },
    body=Body((JSON,), "NewSecret"),
    role=Role.ADMIN,
)
def put_secret(query: Query) -> Response:
    """Store a secret, sealed; one of the same name is replaced."""
    asked = read_json(NewSecret)
    return _put("secret", asked.name, asked.value)


@sealed.call(
    "GET",
    "/secrets/<word:name>",
    {200: Answer("The secret, without its value.", "SealedEntry")},
    role=Role.VIEWER,
)
def get_secret(query: Query, name: str) -> Response:
    """Tell of a secret; its value is never answered."""
    return _get("secret", name)


@sealed.call("DELETE", "/secrets/<word:name>", {204: Answer("It is forgotten.")}, role=Role.ADMIN)
def delete_secret(query: Query, name: str) -> Response:
    """Forget a secret."""
    return _delete("secret", name)


def _list(kind: SecretKind) -> Response:
    return page_answer(services().vault.list_all(caller().namespace, kind), None, show_sealed)


def _get(kind: SecretKind, name: str) -> Response:
    found = services().vault.find(SecretPlace(caller().namespace, kind, name))
    return json_answer(show_sealed(found))


def _put(kind: SecretKind, name: str, value: Any) -> Response:
    vault, place = services().vault, SecretPlace(caller().namespace, kind, name)
    record, is_new = vault.put(place, value, created_by=caller().mark)
    status = 201 if is_new else 200
    headers = {"Location": f"{sealed.prefix}/{kind}s/{name}"}
    return json_answer(show_sealed(Listed(name, "stored", record)), status, headers)


def _delete(kind: SecretKind, name: str) -> Response:
    services().vault.delete(SecretPlace(caller().namespace, kind, name))
    return Response(status=204)
