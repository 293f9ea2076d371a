"""The scheduler's statements, compiled once for each database.

A statement is either a bulk insert (with or without update of what exists) or runs once per row.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.dialects.mysql import pymysql as mysql_driver
from sqlalchemy.dialects.sqlite import pysqlite as sqlite_driver

from dag_engine.storage import tables


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text with positional markers. `head`, `row` and `tail` are set for a bulk insert."""

    sql: str
    head: str = ""
    row: str = ""
    tail: str = ""


def _words(text: str) -> list[str]:
    return text.split()


_TASK = _words(
    "run_id idx namespace operator state reason_code reason attempt engine_id n_failures n_losses "
    "not_before started_at ended_at progress metrics"
)
_ATTEMPT = _words(
    "run_id idx attempt namespace state engine_id reason_code message hint traceback queued_at "
    "started_at ended_at exit_code exit_signal worker log_bytes"
)
_ARTIFACT = _words("run_id idx port namespace attempt type sha256 size_bytes ref")
_ENTRY = _words("namespace cache_key run_id idx attempt made_at")
_FINDING = _words("run_id idx namespace verdict source_run source_idx source_attempt detail")
_EVENT = _words(
    "run_id seq namespace at kind operator attempt from_state to_state reason_code reason"
)
_ENGINE = _words("engine_id incarnation registration is_alive registered_at heartbeat_at")
_REGISTRATION = _words(
    "engine_id namespace incarnation url host version slots registration catalogue_digest is_alive "
    "registered_at heartbeat_at deregistered_at"
)
_ALGORITHM = _words("engine_id name namespace code_version offer offered_in")
_EXECUTOR = _words("engine_id name namespace offer offered_in")
_STALE = _words("namespace attempt_id verdict outcome received_at")

# What an existing row keeps: its key, and what never changes after the first insert.
_KEPT = {
    "save_task": ["run_id", "idx", "namespace", "operator"],
    "save_attempt": ["run_id", "idx", "attempt", "namespace", "queued_at"],
    "save_artifact": ["run_id", "idx", "port", "namespace"],
    "save_entry": ["namespace", "cache_key"],
    "save_finding": ["run_id", "idx", "namespace"],
    "save_engine": ["engine_id", "registered_at", "heartbeat_at", "registration"],
    "register_engine": ["engine_id", "namespace"],
}


def _update(table: sa.Table, columns: list[str], keys: list[str]) -> sa.Update:
    return (
        sa.update(table)
        .ordered_values(*((table.c[name], sa.bindparam(f"new_{name}")) for name in columns))
        .where(*(table.c[name] == sa.bindparam(f"key_{name}") for name in keys))
    )


_RUN = ["state", "reason_code", "reason", "started_at", "ended_at", "last_seq", "counts"]

_UPDATES: dict[str, sa.Update | sa.Delete] = {
    "update_run": _update(tables.runs, _RUN, ["run_id"]),
    # Names no column of an index, which SQLite would write anew even where its value stays.
    "count_run": _update(tables.runs, ["last_seq", "counts"], ["run_id"]),
    "consume_run": _update(tables.runs, ["consumed_at"], ["run_id"]).where(
        tables.runs.c.consumed_at.is_(None)
    ),
    "finish_command": _update(tables.commands, ["consumed_at", "result"], ["command_id"]),
    "touch_engine": _update(tables.operator_engines, ["heartbeat_at", "is_alive"], ["engine_id"]),
    "deregister_engine": _update(
        tables.operator_engines,
        ["deregistered_at", "is_alive", "catalogue_digest"],
        ["engine_id"],
    ),
    "set_catalogue_revision": _update(tables.leader, ["catalogue_revision"], ["seat"]),
    "drop_algorithms": sa.delete(tables.algorithms).where(
        tables.algorithms.c.engine_id == sa.bindparam("key_engine_id")
    ),
    "drop_executors": sa.delete(tables.executors).where(
        tables.executors.c.engine_id == sa.bindparam("key_engine_id")
    ),
}

_INSERTS: dict[str, tuple[sa.Table, list[str]]] = {
    "save_task": (tables.tasks, _TASK),
    "save_attempt": (tables.attempts, _ATTEMPT),
    "save_artifact": (tables.artifacts, _ARTIFACT),
    "save_entry": (tables.cache_entries, _ENTRY),
    "save_finding": (tables.cache_findings, _FINDING),
    "add_event": (tables.events, _EVENT),
    "save_engine": (tables.operator_engines, _ENGINE),
    "register_engine": (tables.operator_engines, _REGISTRATION),
    "add_algorithm": (tables.algorithms, _ALGORITHM),
    "add_executor": (tables.executors, _EXECUTOR),
    "add_stale_report": (tables.stale_reports, _STALE),
}


def _insert_sqlite(table: sa.Table, columns: list[str], kept: list[str] | None) -> Any:
    insert = sqlite.insert(table).values({column: sa.bindparam(column) for column in columns})
    if kept is None:
        return insert
    changed = {c: insert.excluded[c] for c in columns if c not in kept}
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed)


def _insert_mysql(table: sa.Table, columns: list[str], kept: list[str] | None) -> Any:
    insert = mysql.insert(table).values({column: sa.bindparam(column) for column in columns})
    if kept is None:
        return insert
    # VALUES() is the one form that both MariaDB and MySQL understand.
    changed = {c: sa.func.values(table.c[c]) for c in columns if c not in kept}
    return insert.on_duplicate_key_update(changed)


@functools.cache
def compile_statements(dialect: str) -> dict[str, Statement]:
    """Compile all statements; the order of their markers is that of the rows in `batch_rows`."""
    compiled = {}
    for name, update in _UPDATES.items():
        compiled[name] = Statement(_sql(update, dialect))
    for name, (table, columns) in _INSERTS.items():
        compiled[name] = compile_insert(dialect, table, columns, _KEPT.get(name))
    return compiled


def compile_insert(
    dialect: str, table: sa.Table, columns: list[str], kept: list[str] | None = None
) -> Statement:
    """Compile a bulk insert; with `kept`, an existing row is updated in all other columns.

    Raises `ValueError` where the columns stand in another order than the table's, in which they are
    written out: the values of a row would go to the wrong ones.
    """
    if columns != [column.name for column in table.columns if column.name in columns]:
        raise ValueError(f"columns of {table.name} are not in its order: {', '.join(columns)}")
    make = _insert_sqlite if dialect == "sqlite" else _insert_mysql
    return _bulk(_sql(make(table, columns, kept), dialect), len(columns))


def _sql(statement: Any, dialect: str) -> str:
    if dialect == "sqlite":
        return str(statement.compile(dialect=sqlite_driver.dialect(paramstyle="qmark")))
    return str(statement.compile(dialect=mysql_driver.dialect(paramstyle="format")))


def _bulk(sql: str, n_columns: int) -> Statement:
    for marker in ("?", "%s"):
        row = "(" + ", ".join([marker] * n_columns) + ")"
        if row in sql:
            head, _, tail = sql.partition(row)
            return Statement(sql, head, row, tail)
    raise AssertionError(f"not a bulk insert: {sql}")
