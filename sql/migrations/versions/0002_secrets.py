"""Sealed secrets and named connections.

Revision ID: 0002
Revises: 0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from dag_engine.storage.column_types import Moment, blob, word

revision = "0002"
down_revision = "0001"
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
        "secrets",
        sa.Column("namespace", word(64), autoincrement=False, nullable=False),
        sa.Column("kind", word(16), autoincrement=False, nullable=False),
        sa.Column("name", word(128), autoincrement=False, nullable=False),
        sa.Column("key_id", word(32), nullable=False),
        sa.Column("sealed", blob(), nullable=False),
        sa.Column("created_by", word(128), nullable=False, server_default=""),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("updated_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "kind", "name", name=op.f("pk_secrets")),
        **_ROWID,
    )


def downgrade() -> None:
    raise NotImplementedError("Restore a backup: a secret that is dropped is lost.")
