"""The supervisor's book of attempts: what is held, what is over, what must not start."""

from __future__ import annotations

import datetime as dt
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec

from executors.base import FailureReason, Outcome
from executors.local.journal import NO_OUTCOME, Journal, Line, read_journal
from executors.local.messages import TaskHead

if TYPE_CHECKING:
    from executors.local.loop import Timer
    from executors.local.pool import WorkerRecord

_N_REMEMBERED = 10_000
_encode = msgspec.json.Encoder().encode

Cause = Literal["", "cancel", "timeout", "memory", "processes", "stop"]


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt that is held.

    `task` is its bytes until it is handed to a worker; `outcome` those of its end. `cause` says
    why we are killing it. It is to be looked at again at `look_at`. `limit_mb` is its memory limit;
    `held_bytes` is what its worker held before it and what its cgroup, if it has one, does not
    count. `hit_at`: when it was seen to have met a limit of the kernel; until `asleep_since` some
    of it did something; `n_refused` starts had been refused to it then, anew at each of the last
    `n_refused_in_a_row` looks. `written_log_bytes` had been written to its log, with what was cut
    off, when it was looked at last, at `log_seen_at`.
    """

    id: str
    head: TaskHead
    stage: Literal["accepted", "started", "ended"] = "accepted"
    task: bytes = b""
    outcome: bytes = b""
    worker: WorkerRecord | None = None
    started_at: float = 0.0
    cause: Cause = ""
    detail: str = ""
    is_start_told: bool = False
    progress: bytes = b""
    progress_timer: Timer | None = None
    dropped_log_bytes: int = 0
    written_log_bytes: int = 0
    log_seen_at: float = 0.0
    look_at: float = 0.0
    limit_mb: int | None = None
    held_bytes: int = 0
    hit_at: float | None = None
    asleep_since: float = 0.0
    n_refused: int = 0
    n_refused_in_a_row: int = 0
    timers: list[Timer] = field(default_factory=list)


class _Remembered:
    """A set of ids that forgets the oldest when it is full."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, attempt_id: str) -> bool:
        return attempt_id in self._ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def add(self, attempt_id: str) -> None:
        self._ids[attempt_id] = None
        self._ids.move_to_end(attempt_id)
        if len(self._ids) > _N_REMEMBERED:
            self._ids.popitem(last=False)

    def discard(self, attempt_id: str) -> None:
        self._ids.pop(attempt_id, None)


def _moment(unix_time: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(unix_time, dt.UTC)


def failed(attempt: Attempt, reason: FailureReason, message: str, hint: str = "") -> Outcome:
    """Make the end of an attempt that failed."""
    return Outcome(
        attempt_id=attempt.id,
        kind="ended",
        state="failed",
        reason=reason,
        message=message,
        hint=hint,
    )


def cancelled(attempt: Attempt, message: str) -> Outcome:
    """Make the end of an attempt that was cancelled."""
    return Outcome(attempt_id=attempt.id, kind="ended", state="cancelled", message=message)


def handed_back(attempt: Attempt, message: str) -> Outcome:
    """Make the end of an attempt that somebody else is to do, since this pool is being stopped."""
    return msgspec.structs.replace(failed(attempt, "lost", message), is_handed_back=True)


class AttemptBook:
    """Holds attempts and keeps the journal in step.

    `news` gathers the outcomes to be told at the end of the round, as JSON.
    """

    def __init__(self, journal_path: str) -> None:
        self.attempts: dict[str, Attempt] = {}
        self.queue: deque[Attempt] = deque()
        self.news: list[msgspec.Raw] = []
        self._released = _Remembered()
        self._tombstones = _Remembered()
        self._journal_path = journal_path
        self.journal = Journal(journal_path, self._describe)

    # --- from one supervisor to the next ----------------------------------------------------------

    def load(self) -> list[str]:
        """Take over what the journal of the last supervisor says; what had no end is lost.

        Returns the ids of the lost attempts.
        """
        for line in read_journal(self._journal_path):
            self._replay(line)
        lost = [attempt for attempt in self.attempts.values() if attempt.stage != "ended"]
        self.journal.compact()
        for attempt in lost:
            was = "ran" if attempt.stage == "started" else "waited for a worker"
            message = f"The worker pool was stopped while this attempt {was}."
            self.end(attempt, failed(attempt, "lost", message))
        self.journal.flush()
        self.news.clear()
        return [attempt.id for attempt in lost]

    def _replay(self, line: Line) -> None:
        if line.k == "tombstone":
            self._tombstones.add(line.id)
            return
        if line.k == "released":
            self.attempts.pop(line.id, None)
            self._released.add(line.id)
            return
        self._tombstones.discard(line.id)
        attempt = self.attempts.setdefault(line.id, Attempt(line.id, TaskHead(attempt_id=line.id)))
        attempt.stage = line.k
        attempt.started_at = line.at or attempt.started_at
        if line.k == "ended":
            attempt.outcome = bytes(line.outcome)

    def _describe(self) -> Iterator[Line]:
        for attempt in self.attempts.values():
            yield Line(
                k=attempt.stage,
                id=attempt.id,
                at=attempt.started_at,
                outcome=msgspec.Raw(attempt.outcome) if attempt.outcome else NO_OUTCOME,
            )
        for attempt_id in self._released:
            yield Line(k="released", id=attempt_id)
        for attempt_id in self._tombstones:
            yield Line(k="tombstone", id=attempt_id)

    # --- moves ------------------------------------------------------------------------------------

    def accept(self, head: TaskHead, task: bytes) -> Attempt | None:
        """Take an attempt into the queue; None when it is held, over or cancelled already."""
        attempt_id = head.attempt_id
        if attempt_id in self.attempts or attempt_id in self._released:
            return None
        attempt = Attempt(attempt_id, head, task=task)
        self.attempts[attempt_id] = attempt
        if attempt_id in self._tombstones:
            self._tombstones.discard(attempt_id)
            self.end(attempt, cancelled(attempt, "Cancelled before it arrived."))
            return None
        self.queue.append(attempt)
        return attempt

    def note_accepted(self, attempt: Attempt) -> None:
        """Write down that the attempt has to wait."""
        self.journal.add(Line(k="accepted", id=attempt.id))

    def start(self, attempt: Attempt, worker: WorkerRecord) -> bytes:
        """Write down the start; returns the task for the worker."""
        attempt.stage = "started"
        attempt.started_at = time.time()
        attempt.worker = worker
        self.journal.add(Line(k="started", id=attempt.id, at=attempt.started_at))
        task, attempt.task = attempt.task, b""
        return task

    def end(self, attempt: Attempt, outcome: Outcome) -> None:
        """End an attempt in our own words, for its worker told nothing; the moments are added."""
        started_at = _moment(attempt.started_at) if attempt.started_at else None
        outcome = msgspec.structs.replace(
            outcome, started_at=started_at, ended_at=dt.datetime.now(dt.UTC)
        )
        self.end_as_told(attempt, _encode(outcome))

    def end_as_told(self, attempt: Attempt, outcome: bytes) -> None:
        """End an attempt with the outcome that its worker told."""
        for timer in attempt.timers:
            timer.cancel()
        attempt.timers.clear()
        attempt.stage = "ended"
        attempt.worker = None
        attempt.task = b""
        attempt.progress = b""
        attempt.outcome = outcome
        raw = msgspec.Raw(outcome)
        self.journal.add(Line(k="ended", id=attempt.id, outcome=raw))
        self.news.append(raw)

    def release(self, attempt_ids: Iterable[str]) -> None:
        """Forget ends; a later submit of one of them still starts nothing."""
        for attempt_id in attempt_ids:
            attempt = self.attempts.get(attempt_id)
            if attempt is not None and attempt.stage == "ended":
                del self.attempts[attempt_id]
                self._released.add(attempt_id)
                self.journal.add(Line(k="released", id=attempt_id))

    def leave_tombstone(self, attempt_id: str) -> None:
        """Remember the cancel of an attempt that is not known yet."""
        if attempt_id not in self._released:
            self._tombstones.add(attempt_id)
            self.journal.add(Line(k="tombstone", id=attempt_id))

    @property
    def n_open(self) -> int:
        """How many attempts are not over."""
        return sum(attempt.stage != "ended" for attempt in self.attempts.values())

    # --- telling ----------------------------------------------------------------------------------

    def tell_start(self, attempt: Attempt) -> None:
        """Tell subscribers that the attempt runs."""
        attempt.is_start_told = True
        self.news.append(_stage_outcome(attempt))

    def stages(self) -> list[msgspec.Raw]:
        """Give the present stage of everything, for a new subscriber."""
        return [_stage_outcome(attempt) for attempt in self.attempts.values()]


def _stage_outcome(attempt: Attempt) -> msgspec.Raw:
    if attempt.stage == "ended":
        return msgspec.Raw(attempt.outcome)
    if attempt.stage == "accepted":
        return msgspec.Raw(_encode(Outcome(attempt_id=attempt.id, kind="accepted")))
    outcome = Outcome(
        attempt_id=attempt.id,
        kind="started",
        started_at=_moment(attempt.started_at),
        worker=attempt.worker.name if attempt.worker else "",
    )
    return msgspec.Raw(_encode(outcome))
