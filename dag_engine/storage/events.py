"""The numbered history of a run."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dag_engine.storage import paging, tables
from dag_engine.storage.database import Database
from dag_engine.storage.rows import EventRecord

_events = tables.events


def list_events_after(
    database: Database, namespace: str, run_id: str, seq: int, *, limit: int = paging.MAX_LIMIT
) -> list[EventRecord]:
    """List the events of a run whose number is higher than `seq`, in order."""
    query = (
        sa.select(_events)
        .where(_events.c.run_id == run_id, _events.c.seq > seq, _events.c.namespace == namespace)
        .order_by(_events.c.seq)
        .limit(paging.bounded(limit))
    )
    return database.read(lambda c: [_event(row) for row in c.execute(query)])


def _event(row: Any) -> EventRecord:
    return EventRecord(
        run_id=row.run_id,
        seq=row.seq,
        at=row.at,
        kind=row.kind,
        operator=row.operator,
        attempt=row.attempt,
        from_state=row.from_state,
        to_state=row.to_state,
        reason_code=row.reason_code,
        reason=row.reason or "",
    )
