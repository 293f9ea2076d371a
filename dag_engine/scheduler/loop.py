"""The scheduler's loop: lead where nobody else does, handle the inbox, step down in time."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field

import msgspec

from dag_engine.scheduler.errors import NotLeadingError
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
)
from dag_engine.storage.scheduler_store import SchedulerStore
from executors.base import Outcome, Report, ReportBatch, ReportReply, Verdict

log = logging.getLogger(__name__)

STANDBY_S = 1.0


@dataclass(slots=True)
class Scheduler:
    """Reigns while it holds the lease; one thread calls `run`, any thread may use the inbox."""

    store: SchedulerStore
    surroundings: Surroundings
    lease_s: float
    inbox: Inbox = field(default_factory=Inbox)
    feed: Feed = field(default_factory=Feed)
    reign: Reign | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """Ask `run` to return; any thread or signal handler may."""
        self._stop.set()
        self.inbox.put(StopAsked())

    def run(self) -> None:
        """Lead or stand by until `stop`."""
        while not self._stop.is_set():
            epoch = self._try_lead()
            if epoch is None:
                self._refuse(self.inbox.drain(STANDBY_S))
                continue
            self._lead(epoch)
        self.store.resign()
        self.feed.close()
        self._refuse(self.inbox.drain(0.0))

    def _try_lead(self) -> int | None:
        try:
            return self.store.try_lead()
        except DatabaseUnavailableError as error:
            log.warning("database_unavailable detail=%s", error)
            return None

    def _lead(self, epoch: int) -> None:
        reign = Reign(self.store, epoch, self.surroundings, self.feed, self.inbox.put)
        held: list[Item] = []
        error: Exception = NotLeadingError()
        try:
            reign.take_over()
            self.reign = reign
            self._rounds(reign, held)
        except LeadershipLostError as lost:
            log.warning("leadership_lost detail=%s", lost)
        except DatabaseUnavailableError as unavailable:
            log.warning("database_unavailable detail=%s", unavailable)
        except BatchRefusedError:
            log.exception("batch_refused items=%d", len(held))
            self.reign = None
            reign.abandon(None)
            self._isolate(held)
        finally:
            self.reign = None
            reign.abandon(error)

    def _rounds(self, reign: Reign, held: list[Item]) -> None:
        renew_at = time.monotonic() + self.lease_s / 3
        while not self._stop.is_set():
            items = self.inbox.drain(min(reign.wait_s(), renew_at - time.monotonic()))
            held[:] = items
            reign.round(items)
            if time.monotonic() >= renew_at:
                if not self.store.renew():
                    return
                renew_at = time.monotonic() + self.lease_s / 3

    def _isolate(self, items: list[Item]) -> None:
        """Handle the items of a refused batch one by one, so that only the bad one is refused.

        Nobody may have to repeat it for ever: a report that the database cannot hold is answered
        `refused`, and the attempt that it ended fails.
        """
        if not items:
            # What was refused had fallen due by itself. It will again: not at once.
            self._stop.wait(STANDBY_S)
        for item in items:
            try:
                if isinstance(item, ReportsCame):
                    verdicts = [self._judge(item.batch, report) for report in item.batch.reports]
                    item.reply.set(ReportReply(verdicts=verdicts))
                else:
                    self._handle_alone(item)
            except BatchRefusedError as refused:
                log.error("item_refused kind=%s detail=%s", type(item).__name__, refused)  # noqa: TRY400 - logged with its traceback above
                if isinstance(item, (EngineRegisters, EngineLeaves)):
                    item.reply.set(refused)
            except (NotLeadingError, LeadershipLostError, DatabaseUnavailableError) as lost:
                log.warning("leadership_lost detail=%s", lost)
                self._refuse(items)
                return

    def _judge(self, batch: ReportBatch, report: Report) -> Verdict:
        """Handle one report; one that cannot be stored fails its attempt instead."""
        outcome = report.outcome
        try:
            return self._report_alone(batch, report)
        except BatchRefusedError as refused:
            log.error("report_refused attempt_id=%s detail=%s", outcome.attempt_id, refused)  # noqa: TRY400 - logged with its traceback above
            text = f"What was reported of it could not be stored: {refused}"
        if outcome.kind == "ended":
            failure = Outcome(
                attempt_id=outcome.attempt_id,
                kind="ended",
                state="failed",
                reason="error",
                message=text,
            )
            self._report_alone(batch, msgspec.structs.replace(report, outcome=failure))
        return Verdict(
            attempt_id=outcome.attempt_id, kind=outcome.kind, verdict="refused", message=text
        )

    def _report_alone(self, batch: ReportBatch, report: Report) -> Verdict:
        item = ReportsCame(msgspec.structs.replace(batch, reports=[report]))
        self._handle_alone(item)
        reply: ReportReply = item.reply.wait(0.0)
        return reply.verdicts[0]

    def _handle_alone(self, item: Item) -> None:
        epoch = self._try_lead()
        if epoch is None:
            raise NotLeadingError
        reign = Reign(self.store, epoch, self.surroundings, self.feed, self.inbox.put)
        try:
            reign.take_over()
            reign.round([item])
        finally:
            reign.abandon(NotLeadingError())

    def _refuse(self, items: list[Item]) -> None:
        for item in items:
            if isinstance(item, (ReportsCame, EngineRegisters, EngineLeaves)):
                item.reply.set(NotLeadingError())
