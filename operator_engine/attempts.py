"""Main's table of attempts: what this engine has taken on and how far each has come.

Plain data without I/O or locks; `Desk` guards it. An attempt stands in the table from its
acceptance until its end is acknowledged by the dag engine.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from executors.base import (
    DispatchItem,
    InventoryItem,
    Outcome,
    OutcomeKind,
    RegistrationReply,
    Task,
)
from operator_engine.bounded import RecentIds
from operator_engine.messages import (
    CancelOrder,
    ExecutionHello,
    MonitorHello,
    StageNote,
    ToExecution,
    ToMonitor,
)
from operator_engine.outcomes import cancelled_before_start

_MEMORY = 10_000
_FIRST_RESUBMIT_S = 5.0
_MAX_RESUBMIT_S = 300.0


class Stage(enum.IntEnum):
    """How far an attempt has come; it only goes up."""

    ACCEPTED = 0
    SUBMITTED = 1
    STARTED = 2
    ENDED = 3


_STAGE_OF_KIND = {
    "accepted": Stage.SUBMITTED,
    "started": Stage.STARTED,
    "progress": Stage.STARTED,
    "ended": Stage.ENDED,
}
_KIND_OF_STAGE: dict[Stage, OutcomeKind] = {
    Stage.ACCEPTED: "accepted",
    Stage.SUBMITTED: "accepted",
    Stage.STARTED: "started",
    Stage.ENDED: "ended",
}


@dataclass(slots=True)
class Held:
    """One attempt: `outcome` is its end where no executor tells it.

    `is_told` says that the present monitor process has heard of it from the executor.
    """

    attempt_id: str
    executor: str
    task: Task | None = None
    token: str = ""
    stage: Stage = Stage.ACCEPTED
    outcome: Outcome | None = None
    is_cancelled: bool = False
    is_told: bool = False
    resubmit_at: float = 0.0
    resubmit_s: float = _FIRST_RESUBMIT_S

    @property
    def has_ended(self) -> bool:
        """Whether its end is known here."""
        return self.stage is Stage.ENDED


@dataclass(slots=True)
class AttemptTable:
    """All attempts of one operator engine, and short memories of those that are gone."""

    held: dict[str, Held] = field(default_factory=dict)
    acknowledged: RecentIds = field(default_factory=lambda: RecentIds(_MEMORY))
    forgotten: RecentIds = field(default_factory=lambda: RecentIds(_MEMORY))
    tombstones: RecentIds = field(default_factory=lambda: RecentIds(_MEMORY))
    counts: Counter[str] = field(default_factory=Counter)

    def accept(
        self, items: list[DispatchItem], executors: Iterable[str], now: float
    ) -> tuple[ToExecution, ToMonitor]:
        """Take tasks on; return what execution and monitor process must hear.

        An attempt that is known already is left as it is.
        """
        known_executors = set(executors)
        tasks: list[Task] = []
        tokens: dict[str, str] = {}
        outcomes: list[Outcome] = []
        for item in items:
            task = item.task
            if self._is_known(item):
                self.counts["repeated"] += 1
                continue
            held = Held(task.attempt_id, task.executor, task, item.token)
            held.resubmit_at = now + held.resubmit_s
            self.held[task.attempt_id] = held
            self.counts["accepted"] += 1
            tokens[task.attempt_id] = item.token
            outcome = self._end_at_once(task, known_executors)
            if outcome is None:
                tasks.append(task)
            else:
                held.stage, held.outcome = Stage.ENDED, outcome
                outcomes.append(outcome)
        return ToExecution(tasks=tasks), ToMonitor(tokens=tokens, outcomes=outcomes)

    def _is_known(self, item: DispatchItem) -> bool:
        attempt_id = item.task.attempt_id
        held = self.held.get(attempt_id)
        if held is None:
            return attempt_id in self.acknowledged or attempt_id in self.forgotten
        # Learnt from an executor before the dag engine could give its token.
        held.task = held.task or item.task
        held.token = held.token or item.token
        return True

    def _end_at_once(self, task: Task, executors: set[str]) -> Outcome | None:
        if task.attempt_id in self.tombstones:
            self.tombstones.discard(task.attempt_id)
            return cancelled_before_start(task.attempt_id)
        if task.executor in executors:
            return None
        return Outcome(
            attempt_id=task.attempt_id,
            kind="ended",
            state="failed",
            reason="error",
            message=f"This operator engine has no executor {task.executor!r}.",
            hint=f"It has: {', '.join(sorted(executors))}. Add it under `executors`.",
        )

    def cancel(self, attempt_ids: Iterable[str]) -> list[CancelOrder]:
        """Mark attempts as cancelled; return those that execution must cancel.

        An attempt that is not known leaves a tombstone: its task ends cancelled should it come.
        """
        orders: list[CancelOrder] = []
        for attempt_id in attempt_ids:
            held = self.held.get(attempt_id)
            if held is None:
                if attempt_id not in self.acknowledged and attempt_id not in self.forgotten:
                    self.tombstones.add(attempt_id)
            elif held.stage < Stage.ENDED:
                held.is_cancelled = True
                orders.append(CancelOrder(attempt_id=attempt_id, executor=held.executor))
        return orders

    def note_submitted(self, attempt_ids: Iterable[str]) -> None:
        """Learn that execution has handed these to their executors."""
        for attempt_id in attempt_ids:
            held = self.held.get(attempt_id)
            if held is not None and held.stage < Stage.SUBMITTED:
                held.stage = Stage.SUBMITTED

    def note_ended(self, outcomes: Iterable[Outcome]) -> ToMonitor:
        """Keep ends that no executor will tell; return what the monitor process must report."""
        news: list[Outcome] = []
        for outcome in outcomes:
            held = self.held.get(outcome.attempt_id)
            if held is not None and held.stage < Stage.ENDED:
                held.stage, held.outcome = Stage.ENDED, outcome
                news.append(outcome)
        return ToMonitor(outcomes=news)

    def note_told(self, notes: Iterable[StageNote]) -> tuple[ToMonitor, bool]:
        """Learn what executors told of attempts.

        Returns what the monitor process must know of them, and whether there is one that only the
        dag engine can judge: then this engine registers again.
        """
        tokens: dict[str, str] = {}
        acknowledged: list[str] = []
        forget: list[str] = []
        is_unknown = False
        for note in notes:
            attempt_id = note.attempt_id
            if attempt_id in self.acknowledged:
                acknowledged.append(attempt_id)
                continue
            if attempt_id in self.forgotten:
                forget.append(attempt_id)
                continue
            held = self.held.get(attempt_id)
            if held is None:
                held = self.held[attempt_id] = Held(attempt_id, note.executor)
            held.stage = max(held.stage, _STAGE_OF_KIND[note.stage])
            held.is_told = True
            if held.token:
                tokens[attempt_id] = held.token
            else:
                is_unknown = True
        reply = ToMonitor(tokens=tokens, acknowledged=acknowledged, forget=forget)
        return reply, is_unknown

    def note_acknowledged(self, attempt_ids: Iterable[str]) -> list[str]:
        """Drop attempts whose end the dag engine has; return those that execution may forget."""
        dropped: list[str] = []
        for attempt_id in attempt_ids:
            self.acknowledged.add(attempt_id)
            if self.held.pop(attempt_id, None) is not None:
                self.counts["acknowledged"] += 1
                dropped.append(attempt_id)
        return dropped

    def meet_execution(self, hello: ExecutionHello, now: float) -> tuple[ToExecution, ToMonitor]:
        """Learn what a new execution process holds; return what it and the monitor must hear."""
        forget: list[str] = []
        for stage, tasks in ((Stage.ACCEPTED, hello.waiting), (Stage.SUBMITTED, hello.submitted)):
            for task in tasks:
                if task.attempt_id in self.acknowledged or task.attempt_id in self.forgotten:
                    forget.append(task.attempt_id)
                    continue
                held = self.held.get(task.attempt_id)
                if held is None:
                    held = Held(task.attempt_id, task.executor)
                    held.resubmit_at = now + held.resubmit_s
                    self.held[task.attempt_id] = held
                held.task = held.task or task
                held.stage = max(held.stage, stage)
        to_monitor = self.note_ended(hello.ended)
        in_hello = {task.attempt_id for task in (*hello.waiting, *hello.submitted)}
        return self._feed_execution(in_hello, forget), to_monitor

    def _feed_execution(self, in_hello: set[str], forget: list[str]) -> ToExecution:
        """Tasks that a killed execution process may have lost; submitting twice starts once."""
        open_ones = [held for held in self.held.values() if held.stage < Stage.ENDED]
        tasks = [
            held.task
            for held in open_ones
            if held.task is not None and not held.is_told and held.attempt_id not in in_hello
        ]
        cancels = [
            CancelOrder(attempt_id=held.attempt_id, executor=held.executor)
            for held in open_ones
            if held.is_cancelled
        ]
        return ToExecution(tasks=tasks, cancels=cancels, forget=forget)

    def meet_monitor(self, hello: MonitorHello, now: float) -> tuple[ToMonitor, bool]:
        """Learn what a new monitor process knows; return what it must hear, and whether there is
        an attempt that only the dag engine can judge.
        """
        self.note_acknowledged(hello.acknowledged)
        for held in self.held.values():
            held.is_told = False
            held.resubmit_s = _FIRST_RESUBMIT_S
            held.resubmit_at = now + held.resubmit_s
        reply, is_unknown = self.note_told(hello.notes)
        tokens = {held.attempt_id: held.token for held in self.held.values() if held.token}
        outcomes = [held.outcome for held in self.held.values() if held.outcome is not None]
        message = ToMonitor(
            tokens=tokens,
            outcomes=outcomes,
            acknowledged=reply.acknowledged,
            forget=reply.forget,
        )
        return message, is_unknown

    def inventory(self) -> list[InventoryItem]:
        """Return all that this engine holds, for a registration."""
        return [
            InventoryItem(attempt_id=held.attempt_id, stage=_KIND_OF_STAGE[held.stage])
            for held in self.held.values()
        ]

    def settle(self, reply: RegistrationReply) -> tuple[ToExecution, ToMonitor]:
        """Apply the dag engine's answer to an inventory."""
        for attempt_id, token in reply.tokens.items():
            held = self.held.get(attempt_id)
            if held is not None:
                held.token = token
        cancels: list[CancelOrder] = []
        for attempt_id in reply.forget:
            held = self.held.pop(attempt_id, None)
            self.forgotten.add(attempt_id)
            if held is not None and held.stage < Stage.ENDED:
                cancels.append(CancelOrder(attempt_id=attempt_id, executor=held.executor))
        dropped = self.note_acknowledged(reply.acknowledged)
        to_execution = ToExecution(cancels=cancels, forget=[*reply.forget, *dropped])
        to_monitor = ToMonitor(
            tokens=reply.tokens, acknowledged=reply.acknowledged, forget=reply.forget
        )
        return to_execution, to_monitor

    def find_overdue(self, now: float) -> list[Task]:
        """Return tasks of which no executor has told anything for long: to be submitted again.

        A back end may have lost one between `submit` and its own memory. The pauses double.
        """
        tasks: list[Task] = []
        for held in self.held.values():
            if held.is_told or held.stage == Stage.ENDED or not held.token or held.task is None:
                continue
            if now >= held.resubmit_at:
                held.resubmit_s = min(_MAX_RESUBMIT_S, held.resubmit_s * 2)
                held.resubmit_at = now + held.resubmit_s
                tasks.append(held.task)
        return tasks

    def count_stages(self) -> dict[str, int]:
        """Count what is held, by stage."""
        return dict(Counter(held.stage.name.lower() for held in self.held.values()))
