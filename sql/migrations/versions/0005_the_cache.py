"""Which results stand in for equal work, what was found of them, and which runs stand on which.

Revision ID: 0005
Revises: 0004
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from dag_engine.storage.column_types import Moment, integer, text, word

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
_ROWID: dict[str, Any] = {**_MYSQL, "sqlite_strict": True}
_CLUSTERED: dict[str, Any] = {**_MYSQL, "sqlite_strict": True, "sqlite_with_rowid": False}


def upgrade() -> None:
    op.create_table(
        "cache_entries",
        sa.Column("namespace", word(64), autoincrement=False, nullable=False),
        sa.Column("cache_key", word(64), autoincrement=False, nullable=False),
        sa.Column("run_id", word(20), nullable=False),
        sa.Column("idx", integer(), nullable=False),
        sa.Column("attempt", integer(), nullable=False),
        sa.Column("made_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "cache_key", name=op.f("pk_cache_entries")),
        **_CLUSTERED,
    )
    op.create_index("ix_cache_entries_run", "cache_entries", ["run_id"])
    op.create_table(
        "cache_findings",
        sa.Column("run_id", word(20), autoincrement=False, nullable=False),
        sa.Column("idx", integer(), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("verdict", word(16), nullable=False),
        sa.Column("source_run", word(20), nullable=False),
        sa.Column("source_idx", integer(), nullable=False),
        sa.Column("source_attempt", integer(), nullable=False),
        sa.Column("detail", text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "idx", name=op.f("pk_cache_findings")),
        **_ROWID,
    )
    op.create_table(
        "run_needs",
        sa.Column("run_id", word(20), autoincrement=False, nullable=False),
        sa.Column("source_run", word(20), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.PrimaryKeyConstraint("run_id", "source_run", name=op.f("pk_run_needs")),
        **_CLUSTERED,
    )
    op.create_index("ix_run_needs_source", "run_needs", ["source_run", "run_id"])


def downgrade() -> None:
    op.drop_table("run_needs")
    op.drop_table("cache_findings")
    op.drop_table("cache_entries")
