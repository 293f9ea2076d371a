"""Who leads, and which processes of the service are alive."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from dag_engine.storage import tables
from dag_engine.storage.batch_rows import json_text
from dag_engine.storage.database import Database
from dag_engine.storage.failures import is_duplicate
from dag_engine.storage.loading import json_value
from dag_engine.storage.moments import UTC, from_database
from dag_engine.storage.rows import ComponentRecord, LeaderRecord

_leader, _components = tables.leader, tables.components


def _read_clock(connection: Connection) -> dt.datetime:
    sql = (
        "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"
        if connection.dialect.name == "sqlite"
        else "SELECT UTC_TIMESTAMP(6)"
    )
    now = from_database(
        connection.exec_driver_sql(sql, execution_options={"no_parameters": True}).scalar()
    )
    assert now is not None
    return now


def get_leader(database: Database) -> LeaderRecord | None:
    """Tell who leads or led last, and where it answers; None if nobody ever did."""

    def work(connection: Connection) -> LeaderRecord | None:
        row = connection.execute(sa.select(_leader)).first()
        if row is None:
            return None
        is_leading = bool(row.holder) and row.lease_until > _read_clock(connection)
        return LeaderRecord(
            epoch=row.epoch,
            holder=row.holder,
            url=row.url,
            lease_until=row.lease_until,
            is_leading=is_leading,
        )

    return database.read(work)


def beat(
    database: Database,
    kind: str,
    instance: str,
    *,
    host: str = "",
    pid: int = 0,
    version: str = "",
    detail: Any = None,
) -> None:
    """Note that a process of the service is alive."""

    def work(connection: Connection) -> None:
        now = _read_clock(connection)
        values = {
            "host": host,
            "pid": pid,
            "version": version,
            "detail": json_text(detail),
            "heartbeat_at": now,
        }
        key = {"kind": kind, "instance": instance}
        updated = connection.execute(_components.update().where(*_is(key)).values(values))
        if updated.rowcount == 0:
            _insert_component(connection, {**key, **values, "started_at": now})

    database.run_txn(work)


def _is(key: dict[str, str]) -> list[Any]:
    return [_components.c[name] == value for name, value in key.items()]


def _insert_component(connection: Connection, values: dict[str, Any]) -> None:
    try:
        connection.execute(_components.insert().values(values))
    except IntegrityError as error:
        if not is_duplicate(error):
            raise


def drop_component(database: Database, kind: str, instance: str) -> None:
    """Forget a process that ended in good order."""
    statement = _components.delete().where(*_is({"kind": kind, "instance": instance}))
    database.run_txn(lambda c: c.execute(statement))


def prune_components(database: Database, older_than_s: float, kind: str = "scheduler") -> int:
    """Forget processes of a kind that have not been heard of for so long; returns how many."""

    def work(connection: Connection) -> int:
        limit = _read_clock(connection) - dt.timedelta(seconds=older_than_s)
        return connection.execute(
            _components.delete().where(
                _components.c.kind == kind, _components.c.heartbeat_at < limit
            )
        ).rowcount

    return database.run_txn(work)


def list_components(database: Database) -> list[ComponentRecord]:
    """List the processes of the service with the age of their last sign of life."""

    def work(connection: Connection) -> list[ComponentRecord]:
        now = _read_clock(connection)
        query = sa.select(_components).order_by(_components.c.kind, _components.c.instance)
        return [
            ComponentRecord(
                kind=row.kind,
                instance=row.instance,
                host=row.host,
                pid=row.pid,
                version=row.version,
                detail=json_value(row.detail),
                started_at=row.started_at,
                heartbeat_at=row.heartbeat_at,
                age_s=max((now - row.heartbeat_at).total_seconds(), 0.0),
            )
            for row in connection.execute(query)
        ]

    return database.read(work)


def read_clock(database: Database) -> dt.datetime:
    """Tell the database's time; also the cheapest proof that it answers."""
    return database.read(_read_clock).astimezone(UTC)
