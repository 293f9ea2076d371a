"""The scheduler's loop: lead where nobody else does, handle the inbox, step down in time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from dag_engine.scheduler.clock import Clock
from dag_engine.scheduler.errors import MessageRefusedError, NotLeadingError, SchedulerError
from dag_engine.scheduler.feed import Feed
from dag_engine.scheduler.inbox import (
    EngineLeaves,
    EngineRegisters,
    Inbox,
    Item,
    ReportsCame,
    StopAsked,
)
from dag_engine.scheduler.reign import Reign
from dag_engine.scheduler.settings import Surroundings
from dag_engine.storage.errors import (
    BatchRefusedError,
    DatabaseUnavailableError,
    LeadershipLostError,
    StorageError,
)
from dag_engine.storage.scheduler_store import SchedulerStore
from executors.base import Outcome, Report, ReportBatch, ReportReply, Verdict

log = logging.getLogger(__name__)

STANDBY_S = 1.0


@dataclass(slots=True)
class Scheduler:
    """Reigns while it holds the lease; one thread calls `run`, any thread may use the inbox.

    `run` is nothing but `turn` again and again; whoever keeps a time of its own takes the turns.
    """

    store: SchedulerStore
    surroundings: Surroundings
    lease_s: float
    inbox: Inbox = field(default_factory=Inbox)
    feed: Feed = field(default_factory=Feed)
    reign: Reign | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _renew_at: float = 0.0
    _rest_until: float = 0.0

    def stop(self) -> None:
        """Ask `run` to return; any thread or signal handler may."""
        self._stop.set()
        self.inbox.put(StopAsked())

    def run(self) -> None:
        """Lead or stand by until `stop`."""
        while not self._stop.is_set():
            self.turn()
        if self.reign is not None:
            self._end(self.reign, NotLeadingError())
        self.store.resign()
        self.feed.close()
        self._refuse(self.inbox.drain(0.0))

    def turn(self) -> None:
        """Do what is next: stand by, take over, or handle what has come and what is due."""
        reign = self.reign
        if reign is not None:
            items = self.inbox.drain(self.wait_s())
            self._guard(reign, items, lambda: self._round(reign, items))
            return
        is_resting = self._clock.monotonic() < self._rest_until
        epoch = None if is_resting else self._try_lead()
        if epoch is None:
            self._refuse(self.inbox.drain(self.wait_s()))
            return
        new = Reign(self.store, epoch, self.surroundings, self.feed, self.inbox.put)
        self._guard(new, [], lambda: self._take_over(new))

    def wait_s(self) -> float:
        """Return how long the next turn may wait for something to come."""
        now = self._clock.monotonic()
        if self.reign is not None:
            return max(0.0, min(self.reign.wait_s(), self._renew_at - now))
        return self._rest_until - now if now < self._rest_until else STANDBY_S

    @property
    def _clock(self) -> Clock:
        return self.surroundings.clock

    def _try_lead(self) -> int | None:
        try:
            return self.store.try_lead()
        except DatabaseUnavailableError as error:
            log.warning("database_unavailable detail=%s", error)
            return None

    def _take_over(self, reign: Reign) -> bool:
        reign.take_over()
        self._renew_at = self._clock.monotonic() + self.lease_s / 3
        self.reign = reign
        return True

    def _round(self, reign: Reign, items: list[Item]) -> bool:
        """Do one round and keep the lease; tell whether it is still ours."""
        reign.round(items)
        if self._clock.monotonic() < self._renew_at:
            return True
        self._renew_at = self._clock.monotonic() + self.lease_s / 3
        return self.store.renew()

    def _guard(self, reign: Reign, items: list[Item], work: Callable[[], bool]) -> None:
        """Work with a reign, and end it where it can go on no longer; `items` are worked on, and
        answered whatever happens.
        """
        goes_on = False
        try:
            goes_on = work()
        except LeadershipLostError as lost:
            log.warning("leadership_lost detail=%s", lost)
        except DatabaseUnavailableError as unavailable:
            log.warning("database_unavailable detail=%s", unavailable)
        except Exception as error:
            # The database refuses what was decided, or one of the items is what nobody thought of:
            # were it to end the process, it would be repeated and end the next one, too.
            is_refused = isinstance(error, BatchRefusedError)
            word = "batch_refused" if is_refused else "round_failed"
            log.exception("%s items=%d", word, len(items))
            self._end(reign, None)
            self._isolate(items)
        finally:
            if not goes_on:
                self._end(reign, NotLeadingError())
                self._refuse(items)

    def _end(self, reign: Reign, error: Exception | None) -> None:
        self.reign = None
        reign.abandon(error)

    def _isolate(self, items: list[Item]) -> None:
        """Handle the items of a round that failed one by one, so that only the bad one is refused.

        Nobody may have to repeat it for ever: a report that cannot be handled or stored is answered
        `refused`, and the attempt that it ended fails. Where a round fails even without items, they
        are not to blame: they may come again, after a rest.
        """
        try:
            self._play_alone([])
            for item in items:
                self._isolate_one(item)
        except (NotLeadingError, LeadershipLostError, DatabaseUnavailableError) as lost:
            log.warning("leadership_lost detail=%s", lost)
        except Exception:
            log.exception("round_without_items_failed")
            self._rest_until = self._clock.monotonic() + STANDBY_S

    def _isolate_one(self, item: Item) -> None:
        if isinstance(item, ReportsCame):
            verdicts = [self._judge(item.batch, report) for report in item.batch.reports]
            item.reply.set(ReportReply(verdicts=verdicts))
            return
        refusal = self._try_alone(item)
        if refusal is not None and isinstance(item, (EngineRegisters, EngineLeaves)):
            item.reply.set(refusal)

    def _judge(self, batch: ReportBatch, report: Report) -> Verdict:
        """Handle one report; one that cannot be handled or stored fails its attempt instead."""
        outcome = report.outcome
        item = _put_alone(batch, report)
        refusal = self._try_alone(item)
        if refusal is None:
            reply: ReportReply = item.reply.wait(0.0)
            return reply.verdicts[0]
        text = f"What was reported of it could not be stored: {refusal}"
        if outcome.kind == "ended":
            failure = Outcome(
                attempt_id=outcome.attempt_id,
                kind="ended",
                state="failed",
                reason="error",
                message=text,
            )
            self._try_alone(_put_alone(batch, msgspec.structs.replace(report, outcome=failure)))
        return Verdict(
            attempt_id=outcome.attempt_id, kind=outcome.kind, verdict="refused", message=text
        )

    def _try_alone(self, item: Item) -> SchedulerError | StorageError | None:
        """Play a round with one item; return why it cannot be. What is not its fault is raised."""
        try:
            self._play_alone([item])
        except (NotLeadingError, LeadershipLostError, DatabaseUnavailableError):
            raise
        except StorageError as refused:
            log.exception("item_refused kind=%s", type(item).__name__)
            return refused
        except Exception as error:
            log.exception("item_refused kind=%s", type(item).__name__)
            return MessageRefusedError(type(error).__name__)
        return None

    def _play_alone(self, items: list[Item]) -> None:
        epoch = self._try_lead()
        if epoch is None:
            raise NotLeadingError
        reign = Reign(self.store, epoch, self.surroundings, self.feed, self.inbox.put)
        try:
            reign.take_over()
            reign.round(items)
        finally:
            reign.abandon(NotLeadingError())

    def _refuse(self, items: list[Item]) -> None:
        for item in items:
            if isinstance(item, (ReportsCame, EngineRegisters, EngineLeaves)):
                item.reply.set(NotLeadingError())


def _put_alone(batch: ReportBatch, report: Report) -> ReportsCame:
    return ReportsCame(msgspec.structs.replace(batch, reports=[report]))
