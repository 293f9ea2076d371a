"""Whose results a run of a part of its DAG stands on, which so far its plan alone told.

Revision ID: 0006
Revises: 0005
"""

import json
import zlib
from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_runs = sa.table("runs", sa.column("run_id"), sa.column("namespace"), sa.column("range_mode"))
_plans = sa.table("run_plans", sa.column("run_id"), sa.column("part"), sa.column("data"))
_needs = sa.table("run_needs", sa.column("run_id"), sa.column("source_run"), sa.column("namespace"))


def upgrade() -> None:
    if context.is_offline_mode():  # a new database has no runs
        return
    connection = op.get_bind()
    query = sa.select(_runs.c.run_id, _runs.c.namespace).where(_runs.c.range_mode != "all")
    for run_id, namespace in connection.execute(query.order_by(_runs.c.run_id)).all():
        _note(connection, run_id, namespace)


def _note(connection: Any, run_id: str, namespace: str) -> None:
    plans = sa.select(_plans.c.data).where(_plans.c.run_id == run_id).order_by(_plans.c.part)
    pieces = list(connection.scalars(plans))
    if not pieces:  # half deleted
        return
    plan = json.loads(zlib.decompress(b"".join(pieces)))
    known = set(connection.scalars(sa.select(_needs.c.source_run).where(_needs.c.run_id == run_id)))
    rows = [
        {"run_id": run_id, "source_run": source, "namespace": namespace}
        for source in sorted({reused["run_id"] for reused in plan.get("reused", ())} - known)
    ]
    if rows:
        connection.execute(_needs.insert(), rows)


def downgrade() -> None:
    """Leave the rows: the former program takes them for needs by the cache."""
