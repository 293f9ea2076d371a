"""Idempotency keys: the same key makes the same thing once, and gives the same answer again."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from dag_engine.storage import tables
from dag_engine.storage.database import Database
from dag_engine.storage.errors import IdempotencyConflictError
from dag_engine.storage.failures import is_duplicate
from dag_engine.storage.moments import UTC
from dag_engine.storage.rows import IdempotencyKey

_keys = tables.idempotency_keys
_KEYS_AT_ONCE = 2_000


def claim(connection: Connection, namespace: str, key: IdempotencyKey, subject: str) -> str:
    """Bind the key to `subject` (an id), inside the transaction that makes the subject.

    Returns the subject that the key stands for: ours, or that of the request that came first. Of
    two requests at once the later waits here for the earlier one's commit.
    """
    try:
        connection.execute(
            _keys.insert().values(
                namespace=namespace,
                idempotency_key=key.key,
                operation=key.operation,
                body_digest=key.body_digest,
                subject=subject,
                created_at=dt.datetime.now(UTC),
            )
        )
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        found = _find(connection, namespace, key)
        if found is None:
            raise
        return found
    return subject


def find_subject(database: Database, namespace: str, key: IdempotencyKey) -> str | None:
    """Tell what the key stands for already, before any work is done for a repeated request.

    Raises `IdempotencyConflictError` if it came with another request.
    """
    return database.read(lambda connection: _find(connection, namespace, key))


def _find(connection: Connection, namespace: str, key: IdempotencyKey) -> str | None:
    row = connection.execute(
        sa.select(_keys.c.operation, _keys.c.body_digest, _keys.c.subject).where(
            _keys.c.namespace == namespace, _keys.c.idempotency_key == key.key
        )
    ).first()
    if row is None:
        return None
    if (row.operation, row.body_digest) != (key.operation, key.body_digest):
        raise IdempotencyConflictError(key.key)
    return str(row.subject)


def prune_keys(database: Database, before: dt.datetime) -> int:
    """Forget some of the keys that were first used before a moment, the oldest; returns how many.

    Never many at once, which would hold up the scheduler; 0 says that none is left.
    """
    moments = (
        sa.select(_keys.c.created_at)
        .where(_keys.c.created_at < before)
        .order_by(_keys.c.created_at)
        .limit(_KEYS_AT_ONCE)
    )

    def work(connection: Connection) -> int:
        old = list(connection.scalars(moments))
        if not old:
            return 0
        return connection.execute(_keys.delete().where(_keys.c.created_at <= old[-1])).rowcount

    return database.run_txn(work, work_s=30.0)
