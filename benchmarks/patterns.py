"""Pattern runs: each is carried out once with the real storage and the real core, so that the rows
which the seed multiplies are those that the scheduler writes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from benchmarks.graphs import Graph
from dag_engine.core import machine
from dag_engine.core.live import Decision, LiveRun, LiveTask, attempt_id_of, revive
from dag_engine.core.plan import Plan, PlannedInput, PlannedTask
from dag_engine.storage import runs, tables
from dag_engine.storage.database import Database
from dag_engine.storage.rows import NewRun
from dag_engine.storage.scheduler_store import SchedulerStore
from executors.base import ArtifactRef, Outcome

Ending = Literal["succeeded", "failed", "cancelled", "paused"]

ENGINE = "seed-engine"
_ENTRY = "bench_noop:do_nothing"
_TABLES = (tables.runs, tables.tasks, tables.attempts, tables.artifacts, tables.events)
_MOMENTS = ("at", "created_at", "consumed_at", "queued_at", "started_at", "ended_at")


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows of one table by column, without run id and namespace.

    `moments` are the columns whose values are numbers of the pattern's moments, or None.
    """

    table: sa.Table
    n_rows: int
    columns: dict[str, list[Any]]
    moments: dict[str, list[int | None]]


@dataclass(frozen=True, slots=True)
class Pattern:
    """All rows of one run; `offsets` are its moments, as time since it was accepted."""

    ending: Ending
    offsets: list[dt.timedelta]
    tables: list[TableRows]


def make_plan(graph: Graph, fingerprints: list[str]) -> Plan:
    """Plan a graph of no-ops as the api would; its nodes stand in breadth-first order."""
    index = {node.name: place for place, node in enumerate(graph.nodes)}
    return Plan(
        tasks=[
            PlannedTask(
                index=place,
                operator=node.name,
                algorithm=node.algorithm,
                entry=_ENTRY,
                title=node.name,
                inputs=[[PlannedInput(source=index[parent]) for parent in node.parents]],
                upstream=sorted(index[parent] for parent in node.parents),
                n_outputs=1,
                fingerprint=fingerprints[place],
            )
            for place, node in enumerate(graph.nodes)
        ]
    )


def make_pattern(database: Database, plan: Plan, ending: Ending) -> Pattern:
    """Carry out one run in an own database, and take its rows from there."""
    run_id = runs.accept_run(database, NewRun(dag_id="d", dag_version=1, plan=plan)).run.id
    store = SchedulerStore(database, holder="seed", url="", lease_s=600.0)
    if store.try_lead() is None:
        raise RuntimeError("the database of the patterns is used by somebody else")
    try:
        _carry_out(store, run_id, ending)
        store.resign()
    finally:
        store.close()
    return database.read(lambda c: _read_pattern(c, run_id, ending))


# --- carrying out ---------------------------------------------------------------------------------


def _carry_out(store: SchedulerStore, run_id: str, ending: Ending) -> None:
    [stored] = store.load_runs([run_id])
    run = revive(stored)
    out = _decide()
    machine.start_run(run, out)
    store.commit(out.batch)
    ready = out.ready
    n_left = max(1, len(run.tasks) // 2) if ending in ("cancelled", "paused") else 0
    while ready:
        if run.n_unfinished <= n_left:
            _break_off(store, run, ending)
            return
        ready = _do_layer(store, run, [task for _, task in ready], ending)


def _do_layer(
    store: SchedulerStore, run: LiveRun, layer: list[LiveTask], ending: Ending
) -> list[tuple[LiveRun, LiveTask]]:
    """Hand out, start and end a layer, each step in one commit; return what became ready."""
    out = _decide()
    for task in layer:
        machine.hand_out(run, task, ENGINE, out)
    store.commit(out.batch)
    out = _decide()
    for task in layer:
        machine.attempt_started(run, task.plan.index, _tell(run, task, "started"), out)
    store.commit(out.batch)
    out = _decide()
    for task in layer:
        is_last = task.plan.index == len(run.tasks) - 1
        kind = "failed" if ending == "failed" and is_last else "succeeded"
        machine.attempt_ended(run, task.plan.index, _tell(run, task, kind), out)
    store.commit(out.batch)
    return out.ready


def _break_off(store: SchedulerStore, run: LiveRun, ending: Ending) -> None:
    out = _decide()
    if ending == "cancelled":
        machine.cancel_run(run, out)
    else:
        machine.pause_run(run, out)
    store.commit(out.batch)


def _decide() -> Decision:
    return Decision(now=dt.datetime.now(dt.UTC))


def _tell(run: LiveRun, task: LiveTask, kind: str) -> Outcome:
    attempt_id = attempt_id_of(run.run_id, task.plan.index, task.row.attempt)
    if kind == "started":
        return Outcome(attempt_id=attempt_id, kind="started")
    if kind == "failed":
        return Outcome(
            attempt_id=attempt_id,
            kind="ended",
            state="failed",
            reason="error",
            message="ValueError: what the seed wanted to fail",
        )
    ref = ArtifactRef(type="report", inline={"value": 0})
    return Outcome(attempt_id=attempt_id, kind="ended", state="succeeded", outputs=[ref])


# --- taking the rows ------------------------------------------------------------------------------


def _read_pattern(connection: Connection, run_id: str, ending: Ending) -> Pattern:
    found = {
        table: connection.execute(
            sa.select(table).where(table.c.run_id == run_id).order_by(*table.primary_key)
        ).all()
        for table in _TABLES
    }
    began = found[tables.runs][0].created_at
    moments = {
        getattr(row, name)
        for table, rows in found.items()
        for name in _MOMENTS
        if name in table.c
        for row in rows
    } - {None}
    in_order = sorted(moments)
    number = {moment: place for place, moment in enumerate(in_order)}
    return Pattern(
        ending,
        [moment - began for moment in in_order],
        [_turn(table, rows, number) for table, rows in found.items()],
    )


def _turn(table: sa.Table, rows: Sequence[Any], number: dict[dt.datetime, int]) -> TableRows:
    """Turn rows into columns; what is NULL in all of them is left out."""
    columns, moments = {}, {}
    for column in table.c:
        values = [getattr(row, column.name) for row in rows]
        if column.name in ("run_id", "namespace") or all(value is None for value in values):
            continue
        if column.name in _MOMENTS:
            moments[column.name] = [None if at is None else number[at] for at in values]
        else:
            columns[column.name] = values
    return TableRows(table, len(rows), columns, moments)
