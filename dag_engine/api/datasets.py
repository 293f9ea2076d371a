"""Registered data: uploaded, or left in place below an allowed root."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
from flask import Response, request

from dag_engine.api import calls
from dag_engine.api.access import caller
from dag_engine.api.answers import json_answer, page_answer
from dag_engine.api.bodies import read_json
from dag_engine.api.calls import JSON, MULTIPART, PAGE, Answer, Body, Query, Resource
from dag_engine.api.dataset_previews import preview_dataset
from dag_engine.api.services import Services, services
from dag_engine.api.sources import Source, check_dataset_id, find_format, find_source
from dag_engine.api.uploads import Upload, spare_folder
from dag_engine.api.views import show_dataset, show_dataset_version
from dag_engine.core.access import Role
from dag_engine.storage import datasets as stored_datasets
from dag_engine.storage.rows import DatasetRecord, NewDatasetVersion

datasets = Resource("datasets", "Datasets")


class InPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataset that stays where it lies; a number as id is its decimal text."""

    uri: str
    id: str | int | None = None
    name: str = ""
    format: str = ""
    options: dict[str, Any] = {}


@datasets.call(
    "POST",
    "/datasets",
    {201: Answer("The dataset with its new version.", "Dataset")},
    body=Body(
        (MULTIPART, JSON),
        ("DatasetUpload", "DatasetInPlace"),
        "A form with `file`, or JSON that names a `uri`.",
    ),
    role=Role.SUBMITTER,
)
def add_dataset(query: Query) -> Response:
    """Register a dataset: upload a file, or name one that lies below an allowed root.

    Under an id that exists it becomes the next version. Without an id one is made.
    """
    here = services()
    added = _upload(here) if request.mimetype == MULTIPART else _add_in_place(here)
    headers = {"Location": f"{datasets.prefix}/datasets/{added.id}"}
    return json_answer(show_dataset(added), 201, headers)


def _upload(here: Services) -> DatasetRecord:
    config = here.config
    with Upload(
        config.store_url, spare_folder(config.home), config.server.max_upload_bytes
    ) as upload:
        fields = upload.fields
        name = fields.get("name", "")
        wanted = _read_id(fields.get("id"))
        source = upload.source
        file_format = find_format(source.filename, fields.get("format", ""))
        dataset_id, version = stored_datasets.reserve_version(
            here.database, caller().namespace, wanted, name=name
        )
        uri = upload.keep(caller().namespace, dataset_id, version)
        placed = Source(uri, source.filename, source.size_bytes, source.sha256)
        new = _describe(placed, dataset_id, version, name, file_format, is_in_place=False)
        return stored_datasets.add_version(here.database, new)


def _add_in_place(here: Services) -> DatasetRecord:
    asked = read_json(InPlace)
    wanted = _read_id(None if asked.id is None else str(asked.id))
    config = here.config
    private = (str(config.home), config.store_url)
    source = find_source(asked.uri, config.dataset_roots, private)
    file_format = find_format(source.filename, asked.format)
    dataset_id, version = stored_datasets.reserve_version(
        here.database, caller().namespace, wanted, name=asked.name
    )
    new = _describe(source, dataset_id, version, asked.name, file_format, is_in_place=True)
    new = dataclasses.replace(new, options=asked.options)
    return stored_datasets.add_version(here.database, new)


def _read_id(came: str | None) -> str | None:
    return check_dataset_id(came) if came else None


def _describe(
    source: Source,
    dataset_id: str,
    version: int,
    name: str,
    file_format: str,
    *,
    is_in_place: bool,
) -> NewDatasetVersion:
    return NewDatasetVersion(
        namespace=caller().namespace,
        dataset_id=dataset_id,
        version=version,
        name=name[:255],
        uri=source.uri,
        format=file_format,
        filename=source.filename,
        sha256=source.sha256,
        size_bytes=source.size_bytes,
        is_in_place=is_in_place,
        created_by=caller().mark,
    )


@datasets.call(
    "GET", "/datasets", {200: Answer("The datasets.", "[Dataset]")}, query=PAGE, role=Role.VIEWER
)
def list_datasets(query: Query) -> Response:
    """List the registered datasets."""
    page = stored_datasets.list_datasets(
        services().database, caller().namespace, limit=query["limit"], cursor=query["cursor"]
    )
    return page_answer(page.items, page.next_cursor, show_dataset)


@datasets.call(
    "GET",
    "/datasets/<word:dataset_id>",
    {200: Answer("The dataset.", "Dataset")},
    query=PAGE,
    role=Role.VIEWER,
)
def get_dataset(query: Query, dataset_id: str) -> Response:
    """Get a dataset with its versions, the newest first."""
    database = services().database
    found = stored_datasets.get_dataset(database, caller().namespace, dataset_id)
    page = stored_datasets.list_versions(
        database, caller().namespace, dataset_id, limit=query["limit"], cursor=query["cursor"]
    )
    versions = [show_dataset_version(version) for version in page.items]
    return json_answer(
        show_dataset(found) | {"versions": versions, "next_cursor": page.next_cursor}
    )


@datasets.call(
    "GET",
    "/datasets/<word:dataset_id>/preview",
    {200: Answer("The beginning of the dataset.", "Preview")},
    query=(
        calls.integer("limit", "Rows at most.", default=50, most=50),
        calls.integer("version", "Which version; absent: the latest.", least=1, most=10**9),
        calls.number("wait_s", "How long to wait for it to be made.", default=20, most=60),
    ),
    role=Role.VIEWER,
)
def get_dataset_preview(query: Query, dataset_id: str) -> Response:
    """Show columns, number of rows and the first rows of a dataset.

    A worker reads the file at the first call; what it finds is kept with the version.
    """
    here = services()
    version = query["version"]
    if version is None:
        found = stored_datasets.get_dataset(here.database, caller().namespace, dataset_id).latest
    else:
        found = stored_datasets.get_version(here.database, caller().namespace, dataset_id, version)
    preview = preview_dataset(here, found, query["wait_s"])
    items = preview["items"]
    rows = items[: query["limit"]]
    return json_answer(
        {
            "columns": preview["columns"],
            "rows": rows,
            "n_rows": preview["rows"],
            "is_truncated": preview["rows"] > len(rows),
        }
    )
