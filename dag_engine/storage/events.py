"""The numbered history of a run."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dag_engine.storage import paging, tables
from dag_engine.storage.database import Database
from dag_engine.storage.rows import EventRecord

_events = tables.events
# In the order in which `_event` takes them.
_EVENT_COLUMNS = tables.columns(
    _events, "run_id seq at kind operator attempt from_state to_state reason_code reason"
)


def list_events_after(
    database: Database, namespace: str, run_id: str, seq: int, *, limit: int = paging.MAX_LIMIT
) -> list[EventRecord]:
    """List the events of a run whose number is higher than `seq`, in order."""
    query = (
        sa.select(*_EVENT_COLUMNS)
        .where(_events.c.run_id == run_id, _events.c.seq > seq, _events.c.namespace == namespace)
        .order_by(_events.c.seq)
        .limit(paging.bounded(limit))
    )
    return database.read(lambda c: [_event(row) for row in c.execute(query)])


def _event(row: Any) -> EventRecord:
    run_id, seq, at, kind, operator, attempt, from_state, to_state, reason_code, reason = row
    return EventRecord(
        run_id=run_id,
        seq=seq,
        at=at,
        kind=kind,
        operator=operator,
        attempt=attempt,
        from_state=from_state,
        to_state=to_state,
        reason_code=reason_code,
        reason=reason or "",
    )
