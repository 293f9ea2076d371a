"""The monitor process's memory: what executors told, what must be reported, what was acknowledged.

Plain data without I/O, locks or a clock; `Reporter` guards it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from executors.base import Outcome, OutcomeKind, Report, Verdict
from operator_engine.bounded import RecentIds
from operator_engine.messages import MonitorHello, StageNote, ToMonitor

START_DELAY_S = 0.05
"""A start is reported after this time, or together with the end if that comes before."""

_MEMORY = 10_000
_HELLO_MEMORY = 2_000


@dataclass(slots=True)
class Follow:
    """One attempt that an executor has told of, or that ended without one.

    `executor` is empty where no executor knows it. `stage` is what was told last. `start` waits
    until it is due; `end` is kept until it is acknowledged.
    """

    executor: str = ""
    stage: OutcomeKind = "accepted"
    token: str = ""
    is_start_told: bool = False
    has_ended: bool = False
    start: Outcome | None = None
    start_due: float = 0.0


@dataclass(slots=True)
class Release:
    """An end that its executor may forget; `n_tries` counts what was tried to keep its log."""

    executor: str
    attempt_id: str
    n_tries: int = 0


@dataclass(slots=True)
class Outbox:
    """Outcomes on their way to the dag engine, in the order in which they were told."""

    follows: dict[str, Follow] = field(default_factory=dict)
    ready: dict[tuple[str, OutcomeKind], Outcome] = field(default_factory=dict)
    stranded: dict[str, dict[OutcomeKind, Outcome]] = field(default_factory=dict)
    starts: dict[str, None] = field(default_factory=dict)
    acknowledged: RecentIds = field(default_factory=lambda: RecentIds(_MEMORY))
    forgotten: RecentIds = field(default_factory=lambda: RecentIds(_MEMORY))

    def tell(
        self, executor: str, outcomes: Iterable[Outcome], now: float, moment: dt.datetime
    ) -> tuple[list[StageNote], list[Release]]:
        """Take what an executor told, at monotonic time `now`, which is `moment`.

        Returns the notes for main (of every attempt whose stage is new) and the ends that the
        executor may forget at once, because they were acknowledged before.
        """
        notes: list[StageNote] = []
        releases: list[Release] = []
        for outcome in outcomes:
            attempt_id = outcome.attempt_id
            if attempt_id in self.acknowledged or attempt_id in self.forgotten:
                if outcome.kind == "ended":
                    releases.append(Release(executor, attempt_id))
                continue
            follow = self.follows.get(attempt_id)
            is_new = follow is None or not follow.executor
            if follow is None:
                follow = self.follows[attempt_id] = Follow()
            follow.executor = executor
            if is_new or (follow.stage != outcome.kind and outcome.kind != "progress"):
                notes.append(
                    StageNote(attempt_id=attempt_id, executor=executor, stage=outcome.kind)
                )
            self._take(follow, outcome, now + _find_delay(outcome, moment))
        return notes, releases

    def _take(self, follow: Follow, outcome: Outcome, due: float) -> None:
        """Queue one outcome, a start from `due` on, unless it was told before."""
        if follow.has_ended or outcome.kind == "accepted":
            return
        follow.stage = outcome.kind
        if outcome.kind == "ended":
            follow.has_ended = True
            self._queue(follow, _with_start(outcome, self._drop_open(follow, outcome.attempt_id)))
        elif outcome.kind == "started":
            if not follow.is_start_told:
                follow.is_start_told = True
                follow.start, follow.start_due = outcome, due
                self.starts[outcome.attempt_id] = None
        else:
            self._release_start(outcome.attempt_id, follow)
            self._queue(follow, outcome)

    def _drop_open(self, follow: Follow, attempt_id: str) -> Outcome | None:
        """Drop what an end makes needless; return the start that was not reported, if any."""
        self.starts.pop(attempt_id, None)
        self.ready.pop((attempt_id, "progress"), None)
        start, follow.start = follow.start, None
        return start

    def _release_start(self, attempt_id: str, follow: Follow) -> None:
        self.starts.pop(attempt_id, None)
        if follow.start is not None:
            start, follow.start = follow.start, None
            self._queue(follow, start)

    def _queue(self, follow: Follow, outcome: Outcome) -> None:
        if follow.token:
            self.ready[outcome.attempt_id, outcome.kind] = outcome
        else:
            self.stranded.setdefault(outcome.attempt_id, {})[outcome.kind] = outcome

    def learn(self, message: ToMonitor) -> list[Release]:
        """Take what main says; return the ends that executors may forget."""
        for attempt_id, token in message.tokens.items():
            if attempt_id not in self.acknowledged:
                follow = self.follows.setdefault(attempt_id, Follow())
                follow.token = token
                for kind, outcome in self.stranded.pop(attempt_id, {}).items():
                    self.ready[attempt_id, kind] = outcome
        for outcome in message.outcomes:
            if outcome.attempt_id not in self.acknowledged:
                follow = self.follows.setdefault(outcome.attempt_id, Follow())
                self._take(follow, outcome, 0.0)
        releases = self._drop(message.acknowledged, self.acknowledged)
        return releases + self._drop(message.forget, self.forgotten)

    def _drop(self, attempt_ids: Iterable[str], memory: RecentIds) -> list[Release]:
        releases: list[Release] = []
        for attempt_id in attempt_ids:
            memory.add(attempt_id)
            self.stranded.pop(attempt_id, None)
            self.starts.pop(attempt_id, None)
            for kind in ("started", "progress", "ended"):
                self.ready.pop((attempt_id, kind), None)
            follow = self.follows.pop(attempt_id, None)
            if follow is not None and follow.executor and follow.has_ended:
                releases.append(Release(follow.executor, attempt_id))
        return releases

    def take(self, limit: int, now: float) -> tuple[list[Report], float | None]:
        """Take up to `limit` reports that are due; return also when the next start will be due."""
        for attempt_id in list(self.starts):
            follow = self.follows[attempt_id]
            if follow.start_due > now:
                break
            self._release_start(attempt_id, follow)
        keys = list(self.ready)[:limit]
        reports = [
            Report(outcome=self.ready.pop(key), token=self.follows[key[0]].token) for key in keys
        ]
        return reports, self._next_due()

    def _next_due(self) -> float | None:
        for attempt_id in self.starts:
            return self.follows[attempt_id].start_due
        return None

    def put_back(self, reports: Iterable[Report]) -> None:
        """Queue reports again that were not acknowledged, before all others."""
        again: dict[tuple[str, OutcomeKind], Outcome] = {}
        for report in reports:
            outcome = report.outcome
            follow = self.follows.get(outcome.attempt_id)
            # Gone meanwhile: acknowledged or forgotten by word of main.
            is_overtaken = outcome.kind == "progress" and follow is not None and follow.has_ended
            if follow is not None and not is_overtaken:
                again[outcome.attempt_id, outcome.kind] = outcome
        # A newer progress replaces the one that could not be sent.
        again.update(self.ready)
        self.ready = again

    def acknowledge(self, verdicts: Iterable[Verdict]) -> tuple[list[str], list[Release]]:
        """Take the dag engine's verdicts; return the ends that are settled, and those of them that
        executors may forget.
        """
        ended: list[str] = []
        releases: list[Release] = []
        for verdict in verdicts:
            if verdict.kind != "ended":
                continue
            self.acknowledged.add(verdict.attempt_id)
            ended.append(verdict.attempt_id)
            follow = self.follows.pop(verdict.attempt_id, None)
            if follow is not None and follow.executor:
                releases.append(Release(follow.executor, verdict.attempt_id))
        return ended, releases

    def make_hello(self, polled: Iterable[str]) -> MonitorHello:
        """Return all that a new main must know."""
        notes = [
            StageNote(attempt_id=attempt_id, executor=follow.executor, stage=follow.stage)
            for attempt_id, follow in self.follows.items()
            if follow.executor
        ]
        acknowledged = self.acknowledged.newest(_HELLO_MEMORY)
        return MonitorHello(notes=notes, polled=sorted(polled), acknowledged=acknowledged)


def _find_delay(outcome: Outcome, moment: dt.datetime) -> float:
    """Return how long a start waits for its end; the executor may have waited already."""
    if outcome.started_at is None:
        return START_DELAY_S
    age_s = (moment - outcome.started_at).total_seconds()
    return min(START_DELAY_S, max(0.0, START_DELAY_S - age_s))


def _with_start(end: Outcome, start: Outcome | None) -> Outcome:
    if start is None or end.started_at is not None:
        return end
    return msgspec.structs.replace(end, started_at=start.started_at)
