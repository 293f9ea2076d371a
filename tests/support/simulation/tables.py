"""The tables that the scheduler reads and writes, in memory; a contract test holds them equal to
the real ones.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from dag_engine.core.plan import Plan
from dag_engine.storage import statements
from dag_engine.storage.batch_rows import Row, Step
from dag_engine.storage.moments import to_text

TaskTuple = namedtuple("TaskTuple", statements._TASK)
AttemptTuple = namedtuple("AttemptTuple", statements._ATTEMPT)
EventTuple = namedtuple("EventTuple", statements._EVENT)
ArtifactTuple = namedtuple("ArtifactTuple", statements._ARTIFACT)
EntryTuple = namedtuple("EntryTuple", statements._ENTRY)
FindingTuple = namedtuple("FindingTuple", statements._FINDING)
EngineTuple = namedtuple("EngineTuple", statements._REGISTRATION)

UNSTORABLE = "no database can hold this"
"""A report with this message is refused by the database for good."""


@dataclass(slots=True)
class StoredRunRow:
    """A row of `runs`, with the plan beside it."""

    run_id: str
    namespace: str
    priority: int
    created_at: str
    plan: Plan
    counts: str
    state: str = "pending"
    reason_code: str = ""
    reason: str = ""
    consumed_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    last_seq: int = 0


@dataclass(slots=True)
class StoredCommandRow:
    """A row of `commands`."""

    command_id: int
    run_id: str
    kind: str
    operator: str | None
    consumed_at: str | None = None
    result: str = ""


@dataclass(slots=True)
class Seat:
    """The leader row; `lease_until` is a moment of the timeline."""

    epoch: int = 0
    batch: int = 0
    holder: str = ""
    url: str = ""
    lease_until: float = 0.0
    catalogue_revision: int = 0


class Tables:
    """All rows. `watch` is told of every transaction, with its steps, right after it."""

    def __init__(self) -> None:
        self.seat = Seat()
        self.runs: dict[str, StoredRunRow] = {}
        self.tasks: dict[str, dict[int, Any]] = {}
        self.attempts: dict[tuple[str, int, int], Any] = {}
        self.artifacts: dict[tuple[str, int, int], Any] = {}
        self.entries: dict[tuple[str, str], Any] = {}
        self.findings: dict[tuple[str, int], Any] = {}
        self.events: dict[str, list[Any]] = {}
        self.commands: dict[int, StoredCommandRow] = {}
        self.engines: dict[str, Any] = {}
        self.offers: dict[str, set[tuple[str, str, int]]] = {}
        self.stale_reports: list[tuple[str, str]] = []
        self.watch: Callable[[list[Step]], None] = lambda steps: None
        self._apply: dict[str, Callable[[Row], None]] = {
            "consume_run": self._consume_run,
            "update_run": self._update_run,
            "count_run": self._count_run,
            "save_task": self._save_task,
            "save_attempt": self._save_attempt,
            "save_artifact": self._save_artifact,
            "save_entry": self._save_entry,
            "save_finding": self._save_finding,
            "add_event": self._add_event,
            "finish_command": self._finish_command,
            "save_engine": self._save_engine,
            "register_engine": self._register_engine,
            "touch_engine": self._touch_engine,
            "deregister_engine": self._deregister_engine,
            "set_catalogue_revision": self._set_revision,
            "drop_algorithms": self._drop_algorithms,
            "drop_executors": self._drop_executors,
            "add_algorithm": self._add_algorithm,
            "add_executor": self._add_executor,
            "add_stale_report": self._add_stale_report,
        }

    # --- what the api writes ----------------------------------------------------------------------

    def accept_run(self, run_id: str, plan: Plan, priority: int, now: dt.datetime) -> None:
        """Store a run with its `pending` tasks."""
        n_tasks = len(plan.tasks)
        counts = msgspec.json.encode({"pending": n_tasks} if n_tasks else {}).decode()
        created_at = to_text(now)
        assert created_at is not None
        self.runs[run_id] = StoredRunRow(run_id, "default", priority, created_at, plan, counts)
        self.tasks[run_id] = {
            task.index: TaskTuple(
                run_id, task.index, "default", task.operator, "pending", "", None, 0, None, 0, 0,
                None, None, None, None, None,
            )
            for task in plan.tasks
        }  # fmt: skip
        self.events[run_id] = []

    def find_live(self) -> list[str]:
        """List the runs that were taken up and are not over."""
        return [
            run_id
            for run_id, run in sorted(self.runs.items())
            if run.ended_at is None and run.consumed_at is not None
        ]

    def find_new(self) -> list[str]:
        """List the runs that nobody has taken up."""
        return [
            run_id
            for run_id, run in sorted(self.runs.items())
            if run.ended_at is None and run.consumed_at is None
        ]

    def add_command(
        self, run_id: str, kind: str, operator: str | None = None, number: int = 0
    ) -> None:
        """Leave a command; it is numbered unless it has a number."""
        number = number or len(self.commands) + 1
        self.commands[number] = StoredCommandRow(number, run_id, kind, operator)

    # --- what the scheduler writes ----------------------------------------------------------------

    def write(self, steps: list[Step]) -> None:
        """Run the steps, or none of them where one is refused."""
        self._check(steps)
        for name, rows in steps:
            apply = self._apply[name]
            for row in rows:
                apply(row)
        self.watch(steps)

    def _check(self, steps: list[Step]) -> None:
        for name, rows in steps:
            if name == "add_event":
                keys = {(row[0], row[1]) for row in rows}
                if len(keys) != len(rows) or any(self._has_event(*key) for key in keys):
                    raise sqlite3.IntegrityError("an event with this number exists")
            elif name == "save_attempt" and any(row[7] == UNSTORABLE for row in rows):
                raise sqlite3.DataError("a row is refused")

    def _has_event(self, run_id: str, seq: int) -> bool:
        events = self.events[run_id]
        return bool(events) and events[-1].seq >= seq

    def _consume_run(self, row: Row) -> None:
        run = self.runs[row[1]]
        if run.consumed_at is None:
            run.consumed_at = row[0]

    def _update_run(self, row: Row) -> None:
        run = self.runs[row[7]]
        run.state, run.reason_code, run.reason, run.started_at, run.ended_at = row[:5]
        run.last_seq, run.counts = row[5:7]

    def _count_run(self, row: Row) -> None:
        run = self.runs[row[2]]
        run.last_seq, run.counts = row[:2]

    def _save_task(self, row: Row) -> None:
        self.tasks[row[0]][row[1]] = TaskTuple._make(row)

    def _save_attempt(self, row: Row) -> None:
        new = AttemptTuple._make(row)
        old = self.attempts.get(row[:3])
        self.attempts[row[:3]] = new if old is None else new._replace(queued_at=old.queued_at)

    def _save_artifact(self, row: Row) -> None:
        self.artifacts[row[:3]] = ArtifactTuple._make(row)

    def _save_entry(self, row: Row) -> None:
        self.entries[row[:2]] = EntryTuple._make(row)

    def _save_finding(self, row: Row) -> None:
        self.findings[row[:2]] = FindingTuple._make(row)

    def _add_event(self, row: Row) -> None:
        self.events[row[0]].append(EventTuple._make(row))

    def _finish_command(self, row: Row) -> None:
        command = self.commands[row[2]]
        command.consumed_at, command.result = row[:2]

    def _save_engine(self, row: Row) -> None:
        old = self.engines[row[0]]
        self.engines[row[0]] = old._replace(incarnation=row[1], is_alive=row[3])

    def _register_engine(self, row: Row) -> None:
        self.engines[row[0]] = EngineTuple._make(row)

    def _touch_engine(self, row: Row) -> None:
        if row[2] in self.engines:
            old = self.engines[row[2]]
            self.engines[row[2]] = old._replace(heartbeat_at=row[0], is_alive=row[1])

    def _deregister_engine(self, row: Row) -> None:
        if row[3] in self.engines:
            self.engines[row[3]] = self.engines[row[3]]._replace(
                deregistered_at=row[0], is_alive=row[1], catalogue_digest=row[2]
            )

    def _set_revision(self, row: Row) -> None:
        self.seat.catalogue_revision = row[0]

    def _drop_algorithms(self, row: Row) -> None:
        self._drop_offers(row[0], "algorithm")

    def _drop_executors(self, row: Row) -> None:
        self._drop_offers(row[0], "executor")

    def _drop_offers(self, engine_id: str, kind: str) -> None:
        kept = {offer for offer in self.offers.get(engine_id, ()) if offer[0] != kind}
        self.offers[engine_id] = kept

    def _add_algorithm(self, row: Row) -> None:
        self.offers.setdefault(row[0], set()).add(("algorithm", row[1], row[5]))

    def _add_executor(self, row: Row) -> None:
        self.offers.setdefault(row[0], set()).add(("executor", row[1], row[4]))

    def _add_stale_report(self, row: Row) -> None:
        self.stale_reports.append((row[1], row[3]))
