"""Secrets and named connections, sealed. Nothing here sees a value."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from dag_engine.storage import tables
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NotFoundError
from dag_engine.storage.failures import is_duplicate
from dag_engine.storage.moments import UTC
from dag_engine.storage.secret_rows import SealedValue, SecretKind, SecretPlace, SecretRecord

_secrets = tables.secrets
_RECORD = tables.columns(_secrets, "namespace kind name key_id created_by created_at updated_at")
_SEALED = tables.columns(_secrets, "namespace kind name key_id sealed")
_RESEALED_AT_ONCE = 100


def put_secret(
    database: Database, value: SealedValue, *, created_by: str = ""
) -> tuple[SecretRecord, bool]:
    """Keep a sealed value in place of what had its name; tells whether the name is new."""
    now = dt.datetime.now(UTC)
    place = value.place

    def work(connection: Connection) -> tuple[SecretRecord, bool]:
        # Insert first and look afterwards: what is there is held from then on, and nobody deletes
        # it before it is changed.
        is_new = _insert(connection, value, created_by, now)
        if not is_new:
            connection.execute(
                _secrets.update()
                .where(*_is(place))
                .values(key_id=value.key_id, sealed=value.sealed, updated_at=now)
            )
        return _get(connection, place), is_new

    return database.run_txn(work)


def _insert(connection: Connection, value: SealedValue, created_by: str, now: dt.datetime) -> bool:
    place = value.place
    try:
        connection.execute(
            _secrets.insert().values(
                namespace=place.namespace,
                kind=place.kind,
                name=place.name,
                key_id=value.key_id,
                sealed=value.sealed,
                created_by=created_by[:128],
                created_at=now,
                updated_at=now,
            )
        )
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        return False
    return True


def list_secrets(
    database: Database, kind: SecretKind, *, namespace: str | None = None
) -> list[SecretRecord]:
    """List what there is of a kind, by name; of all namespaces where none is named."""
    query = sa.select(*_RECORD).where(_secrets.c.kind == kind)
    if namespace is not None:
        query = query.where(_secrets.c.namespace == namespace)
    query = query.order_by(_secrets.c.namespace, _secrets.c.name)
    return database.read(lambda c: [_record(row) for row in c.execute(query)])


def list_key_ids(database: Database) -> list[str]:
    """List the keys that something is sealed with."""
    query = sa.select(_secrets.c.key_id).distinct().order_by(_secrets.c.key_id)
    return database.read(lambda c: list(c.scalars(query)))


def get_secret(database: Database, place: SecretPlace) -> SecretRecord:
    """Return what may be told of a secret, or raise `NotFoundError`."""
    return database.read(lambda c: _get(c, place))


def load_sealed(
    database: Database, places: Iterable[SecretPlace]
) -> dict[SecretPlace, SealedValue]:
    """Load sealed values; what is not there is left out."""
    wanted = list(places)

    def work(connection: Connection) -> dict[SecretPlace, SealedValue]:
        found = {}
        for place in wanted:
            row = connection.execute(sa.select(*_SEALED).where(*_is(place))).first()
            if row is not None:
                found[place] = _sealed(row)
        return found

    return database.read(work)


def delete_secret(database: Database, place: SecretPlace) -> None:
    """Forget a secret, or raise `NotFoundError`."""

    def work(connection: Connection) -> int:
        return connection.execute(_secrets.delete().where(*_is(place))).rowcount

    if not database.run_txn(work):
        raise NotFoundError(place.kind, place.name)


def reseal(
    database: Database, key_id: str, change: Callable[[SealedValue], SealedValue | None]
) -> int:
    """Give `change` every value that is not sealed with a key, and keep what it returns.

    Goes on until none is left, in pieces: a service that stores one meanwhile waits for a moment
    only. Values for which it returns None stay as they are. Returns how many were changed.
    """
    after: tuple[str, str, str] = ("", "", "")
    n_changed = 0
    while True:
        found = database.read(partial(_find_others, key_id=key_id, after=after))
        if not found:
            return n_changed
        pairs = [(old, new) for old in found if (new := change(old)) is not None]
        n_changed += database.run_txn(partial(_exchange, pairs=pairs))
        last = found[-1].place
        after = (last.namespace, last.kind, last.name)


def _find_others(
    connection: Connection, key_id: str, after: tuple[str, str, str]
) -> list[SealedValue]:
    order = (_secrets.c.namespace, _secrets.c.kind, _secrets.c.name)
    query = (
        sa.select(*_SEALED)
        .where(_secrets.c.key_id != key_id, sa.tuple_(*order) > sa.tuple_(*after))
        .order_by(*order)
        .limit(_RESEALED_AT_ONCE)
    )
    return [_sealed(row) for row in connection.execute(query)]


def _exchange(connection: Connection, pairs: list[tuple[SealedValue, SealedValue]]) -> int:
    n_changed = 0
    for old, new in pairs:
        # What was stored anew meanwhile is newer than what we read.
        n_changed += connection.execute(
            _secrets.update()
            .where(*_is(old.place), _secrets.c.sealed == old.sealed)
            .values(key_id=new.key_id, sealed=new.sealed)
        ).rowcount
    return n_changed


def _is(place: SecretPlace) -> tuple[Any, ...]:
    return (
        _secrets.c.namespace == place.namespace,
        _secrets.c.kind == place.kind,
        _secrets.c.name == place.name,
    )


def _find(connection: Connection, place: SecretPlace) -> Any:
    return connection.execute(sa.select(*_RECORD).where(*_is(place))).first()


def _get(connection: Connection, place: SecretPlace) -> SecretRecord:
    row = _find(connection, place)
    if row is None:
        raise NotFoundError(place.kind, place.name)
    return _record(row)


def _record(row: Any) -> SecretRecord:
    return SecretRecord(
        namespace=row.namespace,
        kind=row.kind,
        name=row.name,
        key_id=row.key_id,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _sealed(row: Any) -> SealedValue:
    return SealedValue(
        place=SecretPlace(row.namespace, row.kind, row.name),
        key_id=row.key_id,
        sealed=bytes(row.sealed),
    )
