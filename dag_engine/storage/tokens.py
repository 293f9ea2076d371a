"""API tokens. Only the SHA-256 of a token is ever seen here."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from dag_engine.storage import tables
from dag_engine.storage.database import DEADLINE_S, Database
from dag_engine.storage.errors import NotFoundError
from dag_engine.storage.failures import is_duplicate
from dag_engine.storage.ids import N_RANDOM_BITS, new_id
from dag_engine.storage.moments import UTC
from dag_engine.storage.rows import TokenRecord

_tokens = tables.tokens


def add_token(
    database: Database,
    token_hash: str,
    *,
    role: str,
    name: str = "",
    namespace: str = "default",
    expires_at: dt.datetime | None = None,
) -> TokenRecord:
    """Remember a token by its hash (hexadecimal SHA-256)."""
    now = dt.datetime.now(UTC)
    token_id = new_id("t", now, secrets.randbits(N_RANDOM_BITS))

    def work(connection: Connection) -> TokenRecord:
        try:
            connection.execute(
                _tokens.insert().values(
                    token_id=token_id,
                    token_hash=token_hash,
                    namespace=namespace,
                    name=name,
                    role=role,
                    created_at=now,
                    expires_at=expires_at,
                )
            )
        except IntegrityError as error:
            # The token is random: a second row can only be our own former try.
            if not is_duplicate(error):
                raise
        row = connection.execute(sa.select(_tokens).where(_tokens.c.token_hash == token_hash)).one()
        return _token(row)

    return database.run_txn(work)


def list_tokens(database: Database, *, namespace: str | None = None) -> list[TokenRecord]:
    """List tokens, newest first, the revoked ones too."""
    query = sa.select(_tokens).order_by(_tokens.c.token_id.desc())
    if namespace is not None:
        query = query.where(_tokens.c.namespace == namespace)
    return database.read(lambda c: [_token(row) for row in c.execute(query)])


def load_tokens(database: Database, *, deadline_s: float = DEADLINE_S) -> dict[str, TokenRecord]:
    """Load the tokens that are not revoked by their hashes, the expired ones too."""
    query = sa.select(_tokens).where(_tokens.c.revoked_at.is_(None))
    return database.read(
        lambda c: {row.token_hash: _token(row) for row in c.execute(query)},
        deadline_s=deadline_s,
    )


def list_digests(database: Database) -> list[str]:
    """List the hashes of the tokens that are good now."""
    query = sa.select(_tokens.c.token_hash).where(*_is_good())
    return database.read(lambda c: list(c.scalars(query)))


def revoke_token(database: Database, token_id: str) -> TokenRecord:
    """Revoke a token for good; `NotFoundError` if there is none of this id."""

    def work(connection: Connection) -> TokenRecord:
        connection.execute(
            _tokens.update()
            .where(_tokens.c.token_id == token_id, _tokens.c.revoked_at.is_(None))
            .values(revoked_at=dt.datetime.now(UTC))
        )
        row = connection.execute(sa.select(_tokens).where(_tokens.c.token_id == token_id)).first()
        if row is None:
            raise NotFoundError("token", token_id)
        return _token(row)

    return database.run_txn(work)


def _is_good() -> tuple[Any, Any]:
    now = dt.datetime.now(UTC)
    return (
        _tokens.c.revoked_at.is_(None),
        sa.or_(_tokens.c.expires_at.is_(None), _tokens.c.expires_at > now),
    )


def _token(row: Any) -> TokenRecord:
    return TokenRecord(
        id=row.token_id,
        namespace=row.namespace,
        name=row.name,
        role=row.role,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
