"""What all tables are made of: their options, and kinds of columns."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dag_engine.storage.column_types import flag, integer, word

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
ROWID: dict[str, Any] = {**MYSQL, "sqlite_strict": True}
CLUSTERED: dict[str, Any] = {**MYSQL, "sqlite_strict": True, "sqlite_with_rowid": False}


def key(name: str, type_: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    """Make a part of the primary key."""
    return sa.Column(name, type_, primary_key=True, autoincrement=False)


def needed(name: str, type_: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    """Make a column that always has a value."""
    return sa.Column(name, type_, nullable=False)


def short(name: str, length: int) -> sa.Column[Any]:
    """Make a text of limited length; empty unless said otherwise."""
    return sa.Column(name, word(length), nullable=False, server_default="")


def count(name: str) -> sa.Column[Any]:
    """Make a whole number; 0 unless said otherwise."""
    return sa.Column(name, integer(), nullable=False, server_default="0")


def truth(name: str, default: str = "0") -> sa.Column[Any]:
    """Tell whether something is so, as 0 or 1."""
    return sa.Column(name, flag(), nullable=False, server_default=default)


def optional(name: str, type_: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    """Make a column that may be empty."""
    return sa.Column(name, type_, nullable=True)


def namespace() -> sa.Column[Any]:
    """Tell whose row it is."""
    return sa.Column("namespace", word(64), nullable=False, server_default="default")
