"""Data sets and their versions."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from dag_engine.storage import paging, tables
from dag_engine.storage.batch_rows import json_text, storable
from dag_engine.storage.by_index import read_by_key
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NotFoundError
from dag_engine.storage.failures import is_duplicate
from dag_engine.storage.ids import N_RANDOM_BITS, new_id
from dag_engine.storage.loading import batches, json_value
from dag_engine.storage.moments import UTC
from dag_engine.storage.rows import (
    DatasetRecord,
    DatasetVersionRecord,
    Inspection,
    NewDatasetVersion,
    Page,
)
from executors.base import DatasetRef

PREVIEW_LIMIT_BYTES = 2 * 1024 * 1024
_sets, _versions = tables.datasets, tables.dataset_versions


# --- writing --------------------------------------------------------------------------------------


def reserve_version(
    database: Database, namespace: str, dataset_id: str | None = None, *, name: str = ""
) -> tuple[str, int]:
    """Reserve the next version of a data set; returns its id (a new one if None) and the number.

    The number goes into the path at which the bytes are stored; the version is seen once
    `add_version` has been called. A number that is never used does no harm.
    """
    now = dt.datetime.now(UTC)
    chosen = dataset_id or new_id("s", now, secrets.randbits(N_RANDOM_BITS))

    def work(connection: Connection) -> tuple[str, int]:
        _insert_dataset(connection, namespace, chosen, name, now)
        row = connection.execute(
            sa.select(_sets.c.n_versions).where(*_is(namespace, chosen)).with_for_update()
        ).one()
        connection.execute(
            _sets.update().where(*_is(namespace, chosen)).values(n_versions=row.n_versions + 1)
        )
        return chosen, row.n_versions + 1

    return database.run_txn(work)


def _insert_dataset(
    connection: Connection, namespace: str, dataset_id: str, name: str, now: dt.datetime
) -> None:
    try:
        connection.execute(
            _sets.insert().values(
                namespace=namespace,
                dataset_id=dataset_id,
                name=name,
                created_at=now,
                updated_at=now,
            )
        )
    except IntegrityError as error:
        if not is_duplicate(error):
            raise


def _is(namespace: str, dataset_id: str) -> tuple[Any, Any]:
    return _sets.c.namespace == namespace, _sets.c.dataset_id == dataset_id


def add_version(database: Database, new: NewDatasetVersion) -> DatasetRecord:
    """Make a reserved version visible, its bytes being in place; a name that is given replaces the
    old one. Calling it again with the same version changes nothing.
    """
    now = dt.datetime.now(UTC)

    def work(connection: Connection) -> DatasetRecord:
        row = connection.execute(
            sa.select(_sets).where(*_is(new.namespace, new.dataset_id)).with_for_update()
        ).first()
        if row is None or new.version > row.n_versions:
            raise NotFoundError("reserved version", f"{new.dataset_id} version {new.version}")
        _insert_version(connection, new, now)
        connection.execute(
            _sets.update()
            .where(*_is(new.namespace, new.dataset_id))
            .values(
                name=new.name or row.name,
                latest_version=max(new.version, row.latest_version),
                updated_at=now,
            )
        )
        return _get(connection, new.namespace, new.dataset_id)

    return database.run_txn(work)


def _insert_version(connection: Connection, new: NewDatasetVersion, now: dt.datetime) -> None:
    try:
        connection.execute(
            _versions.insert().values(
                namespace=new.namespace,
                dataset_id=new.dataset_id,
                version=new.version,
                uri=new.uri,
                format=new.format,
                filename=new.filename,
                sha256=new.sha256,
                size_bytes=new.size_bytes,
                options=json_text(new.options),
                is_in_place=int(new.is_in_place),
                created_by=new.created_by,
                created_at=now,
            )
        )
    except IntegrityError as error:
        if not is_duplicate(error):
            raise


def set_inspection(
    database: Database,
    namespace: str,
    dataset_id: str,
    version: int,
    found: Inspection,
) -> None:
    """Note what a worker found in a version.

    Raises
    ------
    NotFoundError
        If there is no such version.
    ValueError
        If the preview is longer than 2 MiB.
    """
    preview_json = json_text(found.preview)
    if preview_json is not None and len(preview_json.encode()) > PREVIEW_LIMIT_BYTES:
        raise ValueError("a preview must not be longer than 2 MiB; take fewer rows")
    statement = (
        _versions.update()
        .where(
            _versions.c.namespace == namespace,
            _versions.c.dataset_id == dataset_id,
            _versions.c.version == version,
        )
        .values(
            inspection=found.state,
            schema_json=json_text(found.schema),
            preview_json=preview_json,
            row_count=found.row_count,
            inspection_error=storable(found.error),
        )
    )
    if database.run_txn(lambda c: c.execute(statement).rowcount) != 1:
        raise NotFoundError("dataset version", f"{dataset_id} version {version}")


# --- reading --------------------------------------------------------------------------------------

_VERSION_COLUMNS = [column for column in _versions.c if column.name != "preview_json"]


def get_dataset(database: Database, namespace: str, dataset_id: str) -> DatasetRecord:
    """Return a data set with its latest version, or raise `NotFoundError`."""
    return database.read(lambda c: _get(c, namespace, dataset_id))


def list_datasets(
    database: Database,
    namespace: str,
    *,
    limit: int = paging.LIMIT,
    cursor: str | None = None,
) -> Page[DatasetRecord]:
    """List data sets in the order of their ids."""
    limit = paging.bounded(limit)
    query = _select_datasets().where(_sets.c.namespace == namespace)
    if cursor is not None:
        query = query.where(_sets.c.dataset_id > cursor)
    query = query.order_by(_sets.c.dataset_id).limit(limit + 1)
    query = read_by_key(read_by_key(query, _sets), _versions)
    items = database.read(lambda c: [_dataset(row) for row in c.execute(query)])
    return paging.make_page(items, limit, lambda dataset: dataset.id)


def get_version(
    database: Database, namespace: str, dataset_id: str, version: int
) -> DatasetVersionRecord:
    """Return one version, or raise `NotFoundError`."""
    row = database.read(lambda c: _version_row(c, namespace, dataset_id, version))
    return _version(row)


def list_versions(
    database: Database,
    namespace: str,
    dataset_id: str,
    *,
    limit: int = paging.LIMIT,
    cursor: str | None = None,
) -> Page[DatasetVersionRecord]:
    """List the versions of a data set, newest first; `NotFoundError` if there is no such set."""
    limit = paging.bounded(limit)
    query = sa.select(*_VERSION_COLUMNS).where(
        _versions.c.namespace == namespace, _versions.c.dataset_id == dataset_id
    )
    if cursor is not None:
        query = query.where(_versions.c.version < paging.number_cursor(cursor))
    query = query.order_by(_versions.c.version.desc()).limit(limit + 1)

    def work(connection: Connection) -> list[DatasetVersionRecord]:
        _get(connection, namespace, dataset_id)
        return [_version(row) for row in connection.execute(query)]

    return paging.make_page(database.read(work), limit, lambda version: version.version)


def load_preview(database: Database, namespace: str, dataset_id: str, version: int) -> Any:
    """Return the preview that a worker made, as it was stored; None while there is none."""
    query = sa.select(_versions.c.preview_json).where(
        _versions.c.namespace == namespace,
        _versions.c.dataset_id == dataset_id,
        _versions.c.version == version,
    )
    row = database.read(lambda c: c.execute(query).first())
    if row is None:
        raise NotFoundError("dataset version", f"{dataset_id} version {version}")
    return json_value(row.preview_json)


def find_datasets(
    database: Database, namespace: str, dataset_ids: Iterable[str]
) -> dict[str, DatasetRef]:
    """Look up the latest version of data sets, to pin it; ids that do not exist are left out."""
    wanted = sorted(set(dataset_ids))

    def work(connection: Connection) -> dict[str, DatasetRef]:
        found = {}
        for ids in batches(wanted):
            query = _select_datasets().where(
                _sets.c.namespace == namespace, _sets.c.dataset_id.in_(ids)
            )
            for row in connection.execute(query):
                found[row.dataset_id] = to_ref(_version(row))
        return found

    return database.read(work)


def to_ref(version: DatasetVersionRecord) -> DatasetRef:
    """Make the reference that a worker needs."""
    return DatasetRef(
        id=version.dataset_id,
        version=version.version,
        uri=version.uri,
        format=version.format,
        sha256=version.sha256,
        size_bytes=version.size_bytes,
        options=version.options,
    )


def _select_datasets() -> sa.Select[Any]:
    return sa.select(
        *_VERSION_COLUMNS,
        _sets.c.name.label("set_name"),
        _sets.c.created_at.label("set_created_at"),
        _sets.c.updated_at.label("set_updated_at"),
    ).join_from(
        _sets,
        _versions,
        (_versions.c.namespace == _sets.c.namespace)
        & (_versions.c.dataset_id == _sets.c.dataset_id)
        & (_versions.c.version == _sets.c.latest_version),
    )


def _get(connection: Connection, namespace: str, dataset_id: str) -> DatasetRecord:
    row = connection.execute(_select_datasets().where(*_is(namespace, dataset_id))).first()
    if row is None:
        raise NotFoundError("dataset", dataset_id)
    return _dataset(row)


def _version_row(connection: Connection, namespace: str, dataset_id: str, version: int) -> Any:
    row = connection.execute(
        sa.select(*_VERSION_COLUMNS).where(
            _versions.c.namespace == namespace,
            _versions.c.dataset_id == dataset_id,
            _versions.c.version == version,
        )
    ).first()
    if row is None:
        raise NotFoundError("dataset version", f"{dataset_id} version {version}")
    return row


def _dataset(row: Any) -> DatasetRecord:
    return DatasetRecord(
        id=row.dataset_id,
        namespace=row.namespace,
        name=row.set_name,
        created_at=row.set_created_at,
        updated_at=row.set_updated_at,
        latest=_version(row),
    )


def _version(row: Any) -> DatasetVersionRecord:
    return DatasetVersionRecord(
        dataset_id=row.dataset_id,
        version=row.version,
        uri=row.uri,
        format=row.format,
        filename=row.filename,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        options=json_value(row.options) or {},
        is_in_place=bool(row.is_in_place),
        row_count=row.row_count,
        schema=json_value(row.schema_json),
        inspection=row.inspection,
        inspection_error=row.inspection_error or "",
        created_by=row.created_by,
        created_at=row.created_at,
    )
