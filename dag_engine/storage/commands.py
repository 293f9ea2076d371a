"""Commands that the api leaves for the scheduler."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.storage import tables
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NotFoundError
from dag_engine.storage.moments import UTC
from dag_engine.storage.rows import CommandRecord

_commands = tables.commands


def add_command(
    database: Database,
    namespace: str,
    run_id: str,
    kind: str,
    *,
    operator: str | None = None,
    created_by: str = "",
) -> CommandRecord:
    """Leave a command for a run or for one operator's task.

    Raises `NotFoundError` if there is no such run or operator. A repeated command does no harm.
    """

    def work(connection: Connection) -> CommandRecord:
        _check_target(connection, namespace, run_id, operator)
        inserted = connection.execute(
            _commands.insert().values(
                namespace=namespace,
                run_id=run_id,
                kind=kind,
                operator=operator,
                created_by=created_by,
                created_at=dt.datetime.now(UTC),
            )
        )
        key = inserted.inserted_primary_key
        row = connection.execute(
            sa.select(_commands).where(
                _commands.c.command_id == (key[0] if key else None),
                _commands.c.namespace == namespace,
            )
        ).one()
        return _command(row)

    return database.run_txn(work)


def _check_target(
    connection: Connection, namespace: str, run_id: str, operator: str | None
) -> None:
    if operator is None:
        runs = tables.runs.c
        query = sa.select(runs.run_id).where(runs.run_id == run_id, runs.namespace == namespace)
    else:
        tasks = tables.tasks.c
        query = sa.select(tasks.run_id).where(
            tasks.run_id == run_id, tasks.operator == operator, tasks.namespace == namespace
        )
    if connection.execute(query).first() is None:
        if operator is None:
            raise NotFoundError("run", run_id)
        raise NotFoundError("task", f"{run_id} {operator}")


def get_command(database: Database, namespace: str, command_id: int) -> CommandRecord:
    """Return a command with what became of it, or raise `NotFoundError`."""
    query = sa.select(_commands).where(
        _commands.c.command_id == command_id, _commands.c.namespace == namespace
    )
    row = database.read(lambda c: c.execute(query).first())
    if row is None:
        raise NotFoundError("command", str(command_id))
    return _command(row)


def list_commands(database: Database, namespace: str, run_id: str) -> list[CommandRecord]:
    """List the commands of a run, the first first."""
    query = (
        sa.select(_commands)
        .where(_commands.c.run_id == run_id, _commands.c.namespace == namespace)
        .order_by(_commands.c.command_id)
    )
    return database.read(lambda c: [_command(row) for row in c.execute(query)])


def _command(row: Any) -> CommandRecord:
    return CommandRecord(
        id=row.command_id,
        run_id=row.run_id,
        kind=row.kind,
        operator=row.operator,
        created_by=row.created_by,
        created_at=row.created_at,
        consumed_at=row.consumed_at,
        result=row.result,
    )
