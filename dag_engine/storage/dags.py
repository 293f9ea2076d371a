"""Definitions: dags and their immutable versions."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from dag_engine.storage import bulk, chunks, paging, tables
from dag_engine.storage.by_index import read_by, read_by_key
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NameTakenError, NotFoundError, PreconditionFailedError
from dag_engine.storage.failures import is_duplicate
from dag_engine.storage.ids import N_RANDOM_BITS, new_dag_id
from dag_engine.storage.moments import UTC
from dag_engine.storage.rows import (
    DagRecord,
    DagSource,
    DagVersionRecord,
    NewDag,
    Page,
    StoredDag,
)

STORE_LIMIT_S = 20.0
_dags, _versions, _parts = tables.dags, tables.dag_versions, tables.dag_parts
_PRESENT = sa.select(
    _versions,
    _dags.c.name.label("dag_name"),
    _dags.c.created_at.label("dag_created_at"),
    _dags.c.updated_at.label("dag_updated_at"),
    _dags.c.n_versions.label("dag_n_versions"),
).join_from(
    _dags,
    _versions,
    (_versions.c.dag_id == _dags.c.dag_id) & (_versions.c.version == _dags.c.current_version),
)
# Made once: to put a statement together costs as much as to carry it out.
_FIND = _PRESENT.where(
    _dags.c.namespace == sa.bindparam("in"), _dags.c.lookup == sa.bindparam("key")
)
_ONE = _PRESENT.where(
    _dags.c.dag_id == sa.bindparam("of"),
    _dags.c.namespace == sa.bindparam("in"),
    _dags.c.deleted_at.is_(None),
)
_LOCK_BY_LOOKUP = (
    sa.select(_dags)
    .where(_dags.c.namespace == sa.bindparam("in"), _dags.c.lookup == sa.bindparam("key"))
    .with_for_update()
)
_PART_COLUMNS = ("dag_id", "version", "kind", "part", "namespace", "data")
_OPERATOR_COLUMNS = (
    "dag_id", "version", "idx", "namespace", "operator", "algorithm", "data_type", "family", "title"
)  # fmt: skip
_EDGE_COLUMNS = (
    "dag_id", "version", "idx", "namespace", "source", "source_port", "target", "target_port"
)  # fmt: skip


# --- writing --------------------------------------------------------------------------------------


def store_dag(
    database: Database,
    new: NewDag,
    *,
    dag_id: str | None = None,
    if_match: str | None = None,
) -> StoredDag:
    """Store a definition: as the dag `dag_id`, else as the one of its name, else of its content.

    A content that the dag had before becomes its present version again; any other makes a new
    version.

    Parameters
    ----------
    database : Database
        Where.
    new : NewDag
        The checked definition.
    dag_id : str, optional
        The dag to change; it must exist.
    if_match : str, optional
        Value of `If-Match`, for the dag `dag_id`: one or more ETags, or `*`.

    Raises
    ------
    NotFoundError
        If `dag_id` does not exist, or was deleted.
    PreconditionFailedError
        If the present version is not one that `if_match` names.
    NameTakenError
        If the new name belongs to another dag.
    """
    if dag_id is None:
        store = prepare_post(database, new)

        def work(connection: Connection) -> StoredDag:
            return store(bulk.Inserts(connection))

    else:
        pieces = chunks.cut(new.source)

        def work(connection: Connection) -> StoredDag:
            row = _lock_by_id(connection, new.namespace, dag_id)
            if if_match is not None:
                _check_match(connection, row, if_match)
            return _add_to(bulk.Inserts(connection), new, row, pieces)

    return database.run_txn(work, work_s=STORE_LIMIT_S)


def prepare_post(database: Database, new: NewDag) -> Callable[[bulk.Inserts], StoredDag]:
    """Do what can be done before the transaction that stores a posted definition, which holds
    locks; what is returned does the rest in it, as `store_dag`.

    Where the inserts gather, a dag that came to be there meanwhile is found out when they are sent;
    all is to be repeated then with inserts that do not gather.
    """
    asked = {"in": new.namespace, "key": lookup_key(new.name, new.digest)}
    found = database.read(lambda c: c.execute(_FIND, asked).first())
    if found is not None and found.digest == new.digest:
        known = StoredDag(_dag(found), is_new_dag=False, is_new_version=False)
        return lambda _: known
    pieces = chunks.cut(new.source)

    def work(inserts: bulk.Inserts) -> StoredDag:
        connection = inserts.connection
        # What was found may be gone or renamed by now, and what was not may be there.
        row = connection.execute(_LOCK_BY_LOOKUP, asked).first() if found is not None else None
        if row is None:
            # Insert first and look afterwards: two posts at once then make one dag.
            if (dag := _insert_dag(inserts, new, pieces)) is not None:
                return StoredDag(dag, is_new_dag=True, is_new_version=True)
            row = connection.execute(_LOCK_BY_LOOKUP, asked).one()
        return _add_to(inserts, new, row, pieces)

    return work


def _add_to(inserts: bulk.Inserts, new: NewDag, row: Any, pieces: list[bytes]) -> StoredDag:
    """Make a content the present version of a dag, whose row is locked."""
    connection = inserts.connection
    now = dt.datetime.now(UTC)
    version = connection.scalar(
        sa.select(_versions.c.version).where(
            _versions.c.dag_id == row.dag_id,
            _versions.c.digest == new.digest,
            _versions.c.namespace == new.namespace,
        )
    )
    is_new_version = version is None
    if version is None:
        version = row.n_versions + 1
        _insert_version(inserts, new, (row.dag_id, version), now, pieces)
        inserts.flush()
    if version != row.current_version:
        _point_to(connection, new, row, version, now)
    return StoredDag(_get(connection, new.namespace, row.dag_id), False, is_new_version)


def lookup_key(name: str, digest: str) -> str:
    """Make what a dag is found by: the digest of its name, else of its content's digest."""
    text = f"name\0{name}" if name else f"content\0{digest}"
    return hashlib.sha256(text.encode()).hexdigest()


def _insert_dag(inserts: bulk.Inserts, new: NewDag, pieces: list[bytes]) -> DagRecord | None:
    """Insert a dag with its first version; None where it is there already."""
    now = dt.datetime.now(UTC)
    dag_id = new_dag_id(now, secrets.randbits(N_RANDOM_BITS))
    values = {
        "dag_id": dag_id,
        "namespace": new.namespace,
        "name": new.name,
        "lookup": lookup_key(new.name, new.digest),
        "current_version": 1,
        "n_versions": 1,
        "created_at": now,
        "updated_at": now,
    }
    try:
        inserts.add_row(_dags, values)
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        return None
    return DagRecord(
        id=dag_id,
        namespace=new.namespace,
        name=new.name,
        created_at=now,
        updated_at=now,
        n_versions=1,
        current=_insert_version(inserts, new, (dag_id, 1), now, pieces),
    )


def _lock_by_id(connection: Connection, namespace: str, dag_id: str) -> Any:
    row = connection.execute(
        sa.select(_dags)
        .where(
            _dags.c.dag_id == dag_id,
            _dags.c.namespace == namespace,
            _dags.c.deleted_at.is_(None),
        )
        .with_for_update()
    ).first()
    if row is None:
        raise NotFoundError("dag", dag_id)
    return row


def _check_match(connection: Connection, row: Any, if_match: str) -> None:
    etag = _get(connection, row.namespace, row.dag_id).etag if row.current_version else ""
    wanted = {part.strip().removeprefix("W/").strip('"') for part in if_match.split(",")}
    if not etag or not wanted & {etag, "*"}:
        raise PreconditionFailedError(if_match, etag)


def _insert_version(
    inserts: bulk.Inserts,
    new: NewDag,
    place: tuple[str, int],
    now: dt.datetime,
    pieces: list[bytes],
) -> DagVersionRecord:
    """Insert a version with its content; `place` is its dag and number."""
    dag_id, version = place
    values: dict[str, Any] = {
        "dag_id": dag_id,
        "version": version,
        "namespace": new.namespace,
        "digest": new.digest,
        "name": new.name,
        "description": new.description,
        "media_type": new.media_type,
        "n_operators": len(new.operators),
        "n_edges": len(new.edges),
        "size_bytes": len(new.source),
        "created_by": new.created_by,
        "created_at": now,
    }
    inserts.add_row(_versions, values)
    parts = [(*place, "source", part, new.namespace, data) for part, data in enumerate(pieces)]
    inserts.add(_parts, list(_PART_COLUMNS), parts)
    inserts.add(
        tables.operators,
        list(_OPERATOR_COLUMNS),
        [
            (*place, i, new.namespace, o.operator, o.algorithm, o.data_type, o.family, o.title)
            for i, o in enumerate(new.operators)
        ],
    )
    inserts.add(
        tables.edges,
        list(_EDGE_COLUMNS),
        [
            (*place, i, new.namespace, e.source, e.source_port, e.target, e.target_port)
            for i, e in enumerate(new.edges)
        ],
    )
    return DagVersionRecord(**values)


def _point_to(
    connection: Connection, new: NewDag, row: Any, version: int, now: dt.datetime
) -> None:
    lookup: str | None = lookup_key(new.name, new.digest)
    holder = connection.scalar(
        sa.select(_dags.c.dag_id).where(
            _dags.c.namespace == new.namespace,
            _dags.c.lookup == lookup,
            _dags.c.dag_id != row.dag_id,
        )
    )
    if holder is not None and new.name:
        raise NameTakenError(new.name, holder)
    if holder is not None:
        # Another nameless dag has this content; posts of it go on finding that one.
        lookup = None
    connection.execute(
        _dags.update()
        .where(_dags.c.dag_id == row.dag_id, _dags.c.namespace == new.namespace)
        .values(
            name=new.name,
            lookup=lookup,
            current_version=version,
            n_versions=max(version, row.n_versions),
            updated_at=now,
        )
    )


def delete_dag(
    database: Database, namespace: str, dag_id: str, *, if_match: str | None = None
) -> None:
    """Delete a dag; its versions and runs stay, its name is free again."""

    def work(connection: Connection) -> None:
        row = _lock_by_id(connection, namespace, dag_id)
        if if_match is not None:
            _check_match(connection, row, if_match)
        connection.execute(
            _dags.update()
            .where(_dags.c.dag_id == dag_id, _dags.c.namespace == namespace)
            .values(deleted_at=dt.datetime.now(UTC), lookup=None)
        )

    database.run_txn(work)


# --- reading --------------------------------------------------------------------------------------


def get_dag(database: Database, namespace: str, dag_id: str) -> DagRecord:
    """Return a dag with its present version, or raise `NotFoundError`."""
    return database.read(lambda c: _get(c, namespace, dag_id))


def list_dags(
    database: Database,
    namespace: str,
    *,
    limit: int = paging.LIMIT,
    cursor: str | None = None,
) -> Page[DagRecord]:
    """List dags, newest first."""
    limit = paging.bounded(limit)
    query = _PRESENT.where(
        _dags.c.namespace == namespace,
        _dags.c.deleted_at.is_(None),
    )
    before = paging.id_cursor(cursor)
    if before is not None:
        query = query.where(_dags.c.dag_id < before)
    query = query.order_by(_dags.c.dag_id.desc()).limit(limit + 1)
    query = read_by_key(read_by(query, _dags, "ix_dags_listing"), _versions)
    items = database.read(lambda c: [_dag(row) for row in c.execute(query)])
    return paging.make_page(items, limit, lambda dag: dag.id)


def list_dag_versions(
    database: Database,
    namespace: str,
    dag_id: str,
    *,
    limit: int = paging.LIMIT,
    cursor: str | None = None,
) -> Page[DagVersionRecord]:
    """List the versions of a dag, newest first; `NotFoundError` if there is no such dag."""
    limit = paging.bounded(limit)
    query = sa.select(_versions).where(
        _versions.c.dag_id == dag_id, _versions.c.namespace == namespace
    )
    if cursor is not None:
        query = query.where(_versions.c.version < paging.number_cursor(cursor))
    query = query.order_by(_versions.c.version.desc()).limit(limit + 1)

    def work(connection: Connection) -> list[DagVersionRecord]:
        _get(connection, namespace, dag_id)
        return [_version(row) for row in connection.execute(query)]

    return paging.make_page(database.read(work), limit, lambda version: version.version)


def get_dag_version(
    database: Database, namespace: str, dag_id: str, version: int
) -> DagVersionRecord:
    """Return one version, also of a deleted dag, or raise `NotFoundError`."""
    query = sa.select(_versions).where(
        _versions.c.dag_id == dag_id,
        _versions.c.namespace == namespace,
        _versions.c.version == version,
    )
    row = database.read(lambda c: c.execute(query).first())
    if row is None:
        raise NotFoundError("dag version", f"{dag_id} version {version}")
    return _version(row)


def get_dag_source(database: Database, namespace: str, dag_id: str, version: int) -> DagSource:
    """Return the bytes of one version as they were posted, or raise `NotFoundError`."""

    def work(connection: Connection) -> tuple[str, list[bytes]] | None:
        media_type = connection.scalar(
            sa.select(_versions.c.media_type).where(
                _versions.c.dag_id == dag_id,
                _versions.c.namespace == namespace,
                _versions.c.version == version,
            )
        )
        if media_type is None:
            return None
        query = (
            sa.select(_parts.c.data)
            .where(
                _parts.c.dag_id == dag_id,
                _parts.c.version == version,
                _parts.c.kind == "source",
                _parts.c.namespace == namespace,
            )
            .order_by(_parts.c.part)
        )
        return media_type, list(connection.scalars(query))

    found = database.read(work, work_s=STORE_LIMIT_S)
    if found is None:
        raise NotFoundError("dag version", f"{dag_id} version {version}")
    return DagSource(chunks.join(found[1]), found[0])


def _get(connection: Connection, namespace: str, dag_id: str) -> DagRecord:
    row = connection.execute(_ONE, {"of": dag_id, "in": namespace}).first()
    if row is None:
        raise NotFoundError("dag", dag_id)
    return _dag(row)


def _dag(row: Any) -> DagRecord:
    return DagRecord(
        id=row.dag_id,
        namespace=row.namespace,
        name=row.dag_name,
        created_at=row.dag_created_at,
        updated_at=row.dag_updated_at,
        n_versions=row.dag_n_versions,
        current=_version(row),
    )


def _version(row: Any) -> DagVersionRecord:
    return DagVersionRecord(
        dag_id=row.dag_id,
        version=row.version,
        namespace=row.namespace,
        name=row.name,
        description=row.description or "",
        digest=row.digest,
        media_type=row.media_type,
        n_operators=row.n_operators,
        n_edges=row.n_edges,
        size_bytes=row.size_bytes,
        created_by=row.created_by,
        created_at=row.created_at,
    )
