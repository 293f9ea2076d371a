"""Operator engines as people see them."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.storage import tables
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NotFoundError
from dag_engine.storage.rows import EngineRecord, ExecutorRecord
from executors.base import ExecutorOffer, Registration

_engines = tables.operator_engines


def list_engines(database: Database, *, has_deregistered: bool = False) -> list[EngineRecord]:
    """List the operator engines; those that were deregistered only if asked for."""
    query = sa.select(_engines).order_by(_engines.c.engine_id)
    if not has_deregistered:
        query = query.where(_engines.c.deregistered_at.is_(None))
    return database.read(lambda c: [_engine(row) for row in c.execute(query)])


def get_engine(database: Database, engine_id: str) -> EngineRecord:
    """Return an operator engine, or raise `NotFoundError`."""
    query = sa.select(_engines).where(_engines.c.engine_id == engine_id)
    row = database.read(lambda c: c.execute(query).first())
    if row is None:
        raise NotFoundError("operator engine", engine_id)
    return _engine(row)


def list_executors(database: Database) -> list[ExecutorRecord]:
    """List what executors each operator engine offers, and whether the engine is alive."""
    offers = tables.executors
    query = (
        sa.select(offers.c.engine_id, offers.c.offer, _engines.c.is_alive)
        .join(_engines, _engines.c.engine_id == offers.c.engine_id)
        .order_by(offers.c.name, offers.c.engine_id)
    )

    def work(connection: Connection) -> list[ExecutorRecord]:
        return [
            ExecutorRecord(
                engine_id, msgspec.json.decode(offer, type=ExecutorOffer), bool(is_alive)
            )
            for engine_id, offer, is_alive in connection.execute(query)
        ]

    return database.read(work)


def _engine(row: Any) -> EngineRecord:
    registration = msgspec.json.decode(row.registration, type=Registration)
    return EngineRecord(
        id=row.engine_id,
        incarnation=row.incarnation,
        url=row.url,
        host=row.host,
        version=row.version,
        slots=row.slots,
        labels=registration.labels,
        executors=registration.executors,
        is_alive=bool(row.is_alive),
        registered_at=row.registered_at,
        heartbeat_at=row.heartbeat_at,
        deregistered_at=row.deregistered_at,
    )
