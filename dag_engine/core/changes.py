"""What one batch of decisions changes: the rows that the scheduler stores in a single
transaction.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from dag_engine.core.plan import Plan
from executors.base import ArtifactRef


@dataclass(slots=True)
class TaskRow:
    """The changing part of a task; keyed by run and index."""

    run_id: str
    index: int
    operator: str
    state: str
    reason_code: str = ""
    reason: str = ""
    attempt: int = 0
    engine_id: str | None = None
    n_failures: int = 0
    n_losses: int = 0
    not_before: dt.datetime | None = None
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    progress: dict[str, Any] | None = None
    metrics: dict[str, float] | None = None


@dataclass(slots=True)
class AttemptRow:
    """One attempt; written when it is handed out and again when it ended. Keyed by run, index and
    number.
    """

    run_id: str
    index: int
    attempt: int
    state: str
    engine_id: str
    reason_code: str = ""
    message: str = ""
    hint: str = ""
    traceback: str = ""
    queued_at: dt.datetime | None = None
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    exit_code: int | None = None
    signal: int | None = None
    worker: str = ""
    log_bytes: int = 0


@dataclass(slots=True)
class ArtifactRow:
    """What an output port of a succeeded task holds. Keyed by run, index and port."""

    run_id: str
    index: int
    port: int
    attempt: int
    ref: ArtifactRef


@dataclass(slots=True)
class EntryRow:
    """A result that later tasks may use; keyed by namespace and key, the newest holds."""

    namespace: str
    key: str
    run_id: str
    index: int
    attempt: int
    made_at: dt.datetime


@dataclass(slots=True)
class FindingRow:
    """What a look for a former result found: one that stands in (`hit`), or one that is not there
    any more (`gone`), by the task that made it. Keyed by run and index.
    """

    run_id: str
    index: int
    verdict: str
    source_run: str
    source_index: int
    source_attempt: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Former:
    """A former result that may stand in: who made it, and what it left."""

    run_id: str
    index: int
    operator: str
    attempt: int
    outputs: list[ArtifactRef]
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class EventRow:
    """One numbered entry of a run's history; `operator` is None for the run itself."""

    run_id: str
    seq: int
    at: dt.datetime
    kind: str
    operator: str | None = None
    attempt: int = 0
    from_state: str = ""
    to_state: str = ""
    reason_code: str = ""
    reason: str = ""


@dataclass(slots=True)
class RunRow:
    """The changing part of a run. `counts` holds the number of tasks by state; `last_seq` its last
    event.
    """

    run_id: str
    state: str
    reason_code: str
    reason: str
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    last_seq: int
    counts: dict[str, int]


@dataclass(slots=True)
class CommandResult:
    """A consumed command and what became of it: `applied`, `repeated` or `impossible`."""

    command_id: int
    result: str


@dataclass(slots=True)
class StaleReport:
    """A report that changed nothing, kept for people; `outcome` is its JSON."""

    attempt_id: str
    outcome: bytes


@dataclass(slots=True)
class StoredCommand:
    """A command as the api left it: `cancel`, `pause` or `resume` of a run, or `cancel` of one
    operator's task.
    """

    id: int
    run_id: str
    kind: str
    operator: str | None = None


@dataclass(slots=True)
class StoredRun:
    """A run as the scheduler loads it: the plan, the state of every task, and the outputs that
    exist already.
    """

    run_id: str
    namespace: str
    state: str
    reason_code: str
    reason: str
    priority: int
    created_at: dt.datetime
    started_at: dt.datetime | None
    last_seq: int
    plan: Plan
    tasks: list[TaskRow]
    outputs: dict[int, list[ArtifactRef]]


@dataclass(slots=True)
class StoredEngine:
    """An operator engine as the scheduler remembers it. `registration` is the JSON of its last
    registration.
    """

    engine_id: str
    incarnation: str
    registration: bytes
    is_alive: bool


@dataclass(slots=True)
class Batch:
    """Everything that one transaction of the scheduler writes.

    `counted_runs` are those of `runs` that did not move themselves: only some of their tasks did.
    """

    consumed_runs: list[str] = field(default_factory=list)
    runs: dict[str, RunRow] = field(default_factory=dict)
    counted_runs: set[str] = field(default_factory=set)
    tasks: dict[tuple[str, int], TaskRow] = field(default_factory=dict)
    attempts: dict[tuple[str, int, int], AttemptRow] = field(default_factory=dict)
    artifacts: list[ArtifactRow] = field(default_factory=list)
    entries: dict[tuple[str, str], EntryRow] = field(default_factory=dict)
    findings: dict[tuple[str, int], FindingRow] = field(default_factory=dict)
    events: list[EventRow] = field(default_factory=list)
    commands: list[CommandResult] = field(default_factory=list)
    engines: dict[str, StoredEngine] = field(default_factory=dict)
    stale_reports: list[StaleReport] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(
            (
                self.consumed_runs,
                self.runs,
                self.tasks,
                self.attempts,
                self.artifacts,
                self.entries,
                self.findings,
                self.events,
                self.commands,
                self.engines,
                self.stale_reports,
            )
        )
