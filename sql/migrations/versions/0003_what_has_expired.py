"""Which runs' results or logs were deleted by the policy of retention.

Revision ID: 0003
Revises: 0002
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from dag_engine.storage.column_types import Moment, word

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ROWID: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "sqlite_strict": True,
}


def upgrade() -> None:
    op.create_table(
        "run_expiries",
        sa.Column("run_id", word(20), autoincrement=False, nullable=False),
        sa.Column("kind", word(16), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("expired_at", Moment(), nullable=False),
        sa.Column("purged_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "kind", name=op.f("pk_run_expiries")),
        **_ROWID,
    )
    op.create_index("ix_run_expiries_open", "run_expiries", ["purged_at", "run_id"])


def downgrade() -> None:
    op.drop_table("run_expiries")
