"""Definitions: checked, stored by version, given back as they were posted."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from dag_engine.api.access import caller
from dag_engine.api.answers import json_answer, page_answer
from dag_engine.api.bodies import as_dict
from dag_engine.api.calls import PAGE, YAML, Answer, Query, Resource
from dag_engine.api.documents import (
    DAG_ANSWER,
    DAG_BODY,
    describe_document,
    read_document,
    wants_yaml,
)
from dag_engine.api.services import services
from dag_engine.api.views import show_dag, show_dag_version
from dag_engine.core.access import Role
from dag_engine.core.dagfile import DagFileError, read_dag
from dag_engine.storage import dags as stored_dags
from dag_engine.storage.rows import DagSource

dags = Resource("dags", "Definitions")
_IF_MATCH = {"If-Match": "ETag of the version that is meant; any other is refused with 412."}


@dags.call(
    "POST",
    "/dags:validate",
    {200: Answer("What was found.", "Validation")},
    body=DAG_BODY,
    role=Role.SUBMITTER,
)
def validate_dag(query: Query) -> Response:
    """Check a DAG file and store nothing.

    All problems are told at once, each with its place and its cure.
    """
    try:
        read_document(services())
    except DagFileError as error:
        problems = [as_dict(problem) for problem in error.problems]
        return json_answer({"valid": False, "problems": problems})
    return json_answer({"valid": True, "problems": []})


@dags.call(
    "POST",
    "/dags",
    {201: Answer("Stored.", "Dag"), 200: Answer("Known already, or a new version.", "Dag")},
    body=DAG_BODY,
    role=Role.SUBMITTER,
)
def add_dag(query: Query) -> Response:
    """Store a DAG file.

    A DAG is found by its name, else by its content: the same content is the same version, a
    changed one a new version.
    """
    document = read_document(services())
    stored = stored_dags.store_dag(services().database, describe_document(document))
    headers = {"Location": f"{dags.prefix}/dags/{stored.dag.id}", "ETag": f'"{stored.dag.etag}"'}
    return json_answer(show_dag(stored.dag), 201 if stored.is_new_dag else 200, headers)


@dags.call("GET", "/dags", {200: Answer("The definitions.", "[Dag]")}, query=PAGE, role=Role.VIEWER)
def list_dags(query: Query) -> Response:
    """List definitions, the newest first."""
    page = stored_dags.list_dags(
        services().database, caller().namespace, limit=query["limit"], cursor=query["cursor"]
    )
    return page_answer(page.items, page.next_cursor, show_dag)


@dags.call(
    "GET",
    "/dags/<word:dag_id>",
    {200: DAG_ANSWER, 304: Answer("Not changed.")},
    headers={"If-None-Match": "ETag that the client has already."},
    role=Role.VIEWER,
)
def get_dag(query: Query, dag_id: str) -> Response:
    """Get a definition with its content.

    With `Accept: application/yaml` it is the file as it was posted, byte for byte.
    """
    found = stored_dags.get_dag(services().database, caller().namespace, dag_id)
    answer = _give_content(show_dag(found), dag_id, found.current.version)
    answer.set_etag(found.etag)
    answer.make_conditional(request)
    return answer


@dags.call(
    "PUT",
    "/dags/<word:dag_id>",
    {200: Answer("Stored.", "Dag")},
    body=DAG_BODY,
    headers=_IF_MATCH,
    role=Role.SUBMITTER,
)
def put_dag(query: Query, dag_id: str) -> Response:
    """Replace the content of a definition; it becomes its new version."""
    document = read_document(services())
    stored = stored_dags.store_dag(
        services().database,
        describe_document(document),
        dag_id=dag_id,
        if_match=request.headers.get("If-Match"),
    )
    return json_answer(show_dag(stored.dag), headers={"ETag": f'"{stored.dag.etag}"'})


@dags.call(
    "DELETE",
    "/dags/<word:dag_id>",
    {204: Answer("Deleted.")},
    headers=_IF_MATCH,
    role=Role.SUBMITTER,
)
def delete_dag(query: Query, dag_id: str) -> Response:
    """Delete a definition; its runs stay."""
    stored_dags.delete_dag(
        services().database, caller().namespace, dag_id, if_match=request.headers.get("If-Match")
    )
    return Response(status=204)


@dags.call(
    "GET",
    "/dags/<word:dag_id>/versions",
    {200: Answer("The versions.", "[DagVersion]")},
    query=PAGE,
    role=Role.VIEWER,
)
def list_dag_versions(query: Query, dag_id: str) -> Response:
    """List the versions of a definition, the newest first."""
    page = stored_dags.list_dag_versions(
        services().database,
        caller().namespace,
        dag_id,
        limit=query["limit"],
        cursor=query["cursor"],
    )
    return page_answer(page.items, page.next_cursor, show_dag_version)


@dags.call(
    "GET",
    "/dags/<word:dag_id>/versions/<number:version>",
    {200: Answer("The version.", "DagVersion", DAG_ANSWER.types)},
    role=Role.VIEWER,
)
def get_dag_version(query: Query, dag_id: str, version: int) -> Response:
    """Get one version with its content."""
    found = stored_dags.get_dag_version(services().database, caller().namespace, dag_id, version)
    return _give_content(show_dag_version(found), dag_id, version)


def _give_content(shown: dict[str, Any], dag_id: str, version: int) -> Response:
    source = stored_dags.get_dag_source(services().database, caller().namespace, dag_id, version)
    if wants_yaml():
        answer = Response(_as_yaml(source), content_type=f"{YAML}; charset=utf-8")
    else:
        answer = json_answer(shown | read_dag(source.data, source.media_type).value)
    answer.headers["Vary"] = "Accept"
    return answer


def _as_yaml(source: DagSource) -> bytes:
    if source.media_type == YAML:
        return source.data
    return read_dag(source.data, source.media_type).to_yaml().encode()
