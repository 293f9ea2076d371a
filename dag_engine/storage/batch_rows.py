"""Turns a batch of changes into rows for the compiled statements; the same for both databases."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from dag_engine.core.changes import (
    ArtifactRow,
    AttemptRow,
    Batch,
    CommandResult,
    EntryRow,
    EventRow,
    FindingRow,
    RunRow,
    StaleReport,
    StoredEngine,
    TaskRow,
)
from dag_engine.storage import moments

Row = tuple[Any, ...]

to_text = functools.lru_cache(maxsize=1024)(moments.to_text)
"""Rows of a batch share moments, a task and its attempt two of them: each is written out once."""

_encode = msgspec.json.encode
_SENTENCE_LENGTH = 4_000
_TRACEBACK_LENGTH = 200_000
_STALE_LENGTH = 1_000_000


class Step(NamedTuple):
    """A statement, by its name in `statements.py`, and the rows to run it with."""

    name: str
    rows: list[Row]


def json_text(value: Any) -> str | None:
    """Write a value as JSON text; None stays None."""
    return None if value is None else _encode(value).decode()


def storable(value: str, length: int = _SENTENCE_LENGTH) -> str:
    """Cut a text that others wrote, and replace what is no Unicode, so that any can be stored."""
    if value.isascii() and len(value) <= length:
        return value
    return value[:length].encode("utf-8", "replace").decode("utf-8")


def make_steps(batch: Batch, namespaces: dict[str, str], now: dt.datetime) -> list[Step]:
    """List what to run, with the rows sorted by key, so that locks are always taken in one order.

    `namespaces` tells the namespace of a run; one that it does not know is in `default`.
    """
    moment = to_text(now)

    def place(run_id: str) -> str:
        return namespaces.get(run_id, "default")

    rows, counted = list(_by_key(batch.runs)), batch.counted_runs
    steps = [
        Step("consume_run", [(moment, run_id) for run_id in sorted(batch.consumed_runs)]),
        Step("update_run", [_run(row) for row in rows if row.run_id not in counted]),
        Step("count_run", [_counts(row) for row in rows if row.run_id in counted]),
        Step("save_task", [_task(row, place(row.run_id)) for row in _by_key(batch.tasks)]),
        Step("save_attempt", [_attempt(row, place(row.run_id)) for row in _by_key(batch.attempts)]),
        Step("save_artifact", [_artifact(row, place(row.run_id)) for row in batch.artifacts]),
        Step("save_entry", [_entry(row) for row in _by_key(batch.entries)]),
        Step("save_finding", [_finding(row, place(row.run_id)) for row in _by_key(batch.findings)]),
        Step("add_event", [_event(row, place(row.run_id)) for row in batch.events]),
        Step("finish_command", [_command(row, moment) for row in batch.commands]),
        Step("save_engine", [_engine(row, moment) for row in _by_key(batch.engines)]),
        Step("add_stale_report", [_stale_report(row, moment) for row in batch.stale_reports]),
    ]
    return [step for step in steps if step.rows]


def _by_key(rows: dict[Any, Any]) -> Iterable[Any]:
    if len(rows) == 1:
        return rows.values()
    return [rows[key] for key in sorted(rows)]


def _run(row: RunRow) -> Row:
    return (
        row.state,
        row.reason_code,
        storable(row.reason),
        to_text(row.started_at),
        to_text(row.ended_at),
        row.last_seq,
        json_text(row.counts),
        row.run_id,
    )


def _counts(row: RunRow) -> Row:
    return (row.last_seq, json_text(row.counts), row.run_id)


def _task(row: TaskRow, namespace: str) -> Row:
    return (
        row.run_id,
        row.index,
        namespace,
        row.operator,
        row.state,
        row.reason_code,
        storable(row.reason),
        row.attempt,
        row.engine_id,
        row.n_failures,
        row.n_losses,
        to_text(row.not_before),
        to_text(row.started_at),
        to_text(row.ended_at),
        json_text(row.progress),
        json_text(row.metrics),
    )


def _attempt(row: AttemptRow, namespace: str) -> Row:
    return (
        row.run_id,
        row.index,
        row.attempt,
        namespace,
        row.state,
        row.engine_id,
        row.reason_code,
        storable(row.message),
        storable(row.hint),
        storable(row.traceback, _TRACEBACK_LENGTH),
        to_text(row.queued_at),
        to_text(row.started_at),
        to_text(row.ended_at),
        row.exit_code,
        row.signal,
        storable(row.worker, 255),
        row.log_bytes,
    )


def _artifact(row: ArtifactRow, namespace: str) -> Row:
    ref = row.ref
    return (
        row.run_id,
        row.index,
        row.port,
        namespace,
        row.attempt,
        ref.type,
        ref.sha256,
        ref.size_bytes,
        json_text(ref),
    )


def _entry(row: EntryRow) -> Row:
    return (row.namespace, row.key, row.run_id, row.index, row.attempt, to_text(row.made_at))


def _finding(row: FindingRow, namespace: str) -> Row:
    return (
        row.run_id,
        row.index,
        namespace,
        row.verdict,
        row.source_run,
        row.source_index,
        row.source_attempt,
        storable(row.detail),
    )


def _event(row: EventRow, namespace: str) -> Row:
    return (
        row.run_id,
        row.seq,
        namespace,
        to_text(row.at),
        row.kind,
        row.operator,
        row.attempt,
        row.from_state,
        row.to_state,
        row.reason_code,
        storable(row.reason),
    )


def _command(row: CommandResult, moment: str | None) -> Row:
    return (moment, row.result, row.command_id)


def _engine(row: StoredEngine, moment: str | None) -> Row:
    return (
        row.engine_id,
        row.incarnation,
        row.registration.decode(),
        int(row.is_alive),
        moment,
        moment,
    )


def _stale_report(row: StaleReport, moment: str | None) -> Row:
    outcome = storable(row.outcome.decode("utf-8", "replace"), _STALE_LENGTH)
    return ("default", storable(row.attempt_id, 64), "stale", outcome, moment)
