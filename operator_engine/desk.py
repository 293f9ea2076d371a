"""Main's desk: the table of attempts, the links to its two children, and who must hear what.

Every method may be called from any thread. The table is changed and a link is looked up under one
lock, and messages are sent after it: a task that comes while a child connects reaches it by the
feed at its hello or directly, never neither.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

import msgspec

from executors.base import Dispatch, InventoryItem, RegistrationReply
from executors.transport.errors import PeerClosedError
from executors.transport.frames import FrameSocket
from operator_engine.addresses import complete_reports_url
from operator_engine.attempts import AttemptTable
from operator_engine.errors import DispatchRefusedError
from operator_engine.messages import FromExecution, FromMonitor, ToExecution, ToMonitor

log = logging.getLogger(__name__)

_NOTHING_TO_DO = ToExecution()
_NOTHING_TO_TELL = ToMonitor()


class Desk:
    """What main knows and whom it can reach."""

    def __init__(self, incarnation: str, executors: Iterable[str]) -> None:
        self.incarnation = incarnation
        self._executors = frozenset(executors)
        self._table = AttemptTable()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._execution: FrameSocket | None = None
        self._monitor: FrameSocket | None = None
        self._has_met_execution = False
        self._polled: set[str] = set()
        self._to_forget: list[str] = []
        self._epoch = 0
        self._reports_url = ""
        self._must_register = False
        self._is_registering = False
        self._is_stopping = False
        self._ended_since: dict[str, float] = {}
        self.on_new_leader: Callable[[], None] = _do_nothing

    # --- the dag engine's wishes ---

    def dispatch(self, dispatch: Dispatch) -> dict[str, int]:
        """Take a batch on and hand it to the execution process.

        Raises `DispatchRefusedError` for an older epoch, a foreign incarnation, and while a
        registration is under way.
        """
        now = time.monotonic()
        if dispatch.reports_url:
            self._meet_leader(dispatch)
        with self._lock:
            self._check(dispatch)
            self._epoch = dispatch.epoch
            orders = self._table.cancel(dispatch.cancels)
            to_execution, to_monitor = self._table.accept(dispatch.tasks, self._executors, now)
            # What execution may forget travels with the next batch: it is not worth a message.
            forget, self._to_forget = self._to_forget, []
            to_execution = ToExecution(tasks=to_execution.tasks, cancels=orders, forget=forget)
            execution, monitor = self._execution, self._monitor
        _send(execution, to_execution, _NOTHING_TO_DO)
        _send(monitor, to_monitor, _NOTHING_TO_TELL)
        n_new = len(to_monitor.tokens)
        return {"accepted": n_new, "known": len(dispatch.tasks) - n_new}

    def _meet_leader(self, dispatch: Dispatch) -> None:
        """Report to a new leader at once, and register with it: the former one may stand still.

        Also while a registration is under way, whose answer may never come.
        """
        with self._changed:
            self._check_sender(dispatch)
            reports_url = complete_reports_url(dispatch.reports_url, "")
            if (dispatch.epoch, reports_url) == (self._epoch, self._reports_url):
                return
            self._epoch, self._reports_url = dispatch.epoch, reports_url
            self._must_register = True
            self._changed.notify_all()
            monitor = self._monitor
            told = ToMonitor(incarnation=self.incarnation, reports_url=self._reports_url)
        _send(monitor, told, _NOTHING_TO_TELL)
        self.on_new_leader()

    def _check(self, dispatch: Dispatch) -> None:
        self._check_sender(dispatch)
        if self._is_registering:
            # What comes now would be missing from the inventory that is under way, and so be given
            # up by the dag engine while it runs here.
            raise DispatchRefusedError(
                503, "registering", "This operator engine is registering just now; send it again."
            )

    def _check_sender(self, dispatch: Dispatch) -> None:
        if dispatch.incarnation != self.incarnation:
            raise DispatchRefusedError(
                409,
                "foreign_incarnation",
                "The batch is for another life of this operator engine, which has been restarted "
                "since; it registers under a new incarnation.",
            )
        if dispatch.epoch < self._epoch:
            raise DispatchRefusedError(
                409,
                "stale_epoch",
                f"The batch is of epoch {dispatch.epoch}, but a dag engine of epoch {self._epoch} "
                f"leads by now.",
            )

    def cancel(self, attempt_ids: list[str]) -> bool:
        """Cancel attempts; tell whether all of them are known here."""
        with self._lock:
            orders = self._table.cancel(attempt_ids)
            is_known = all(attempt_id in self._table.held for attempt_id in attempt_ids)
            execution = self._execution
        _send(execution, ToExecution(cancels=orders), _NOTHING_TO_DO)
        return is_known

    def find_executor(self, attempt_id: str) -> str | None:
        """Return the executor of an attempt; None where it is not held."""
        with self._lock:
            held = self._table.held.get(attempt_id)
            return held.executor if held else None

    def describe(self, attempt_id: str) -> dict[str, object] | None:
        """Return what is known of an attempt, for people; None where it is not known."""
        with self._lock:
            held = self._table.held.get(attempt_id)
            if held is None:
                if attempt_id in self._table.acknowledged:
                    return {"attempt_id": attempt_id, "stage": "acknowledged"}
                return None
            return {
                "attempt_id": attempt_id,
                "executor": held.executor,
                "stage": held.stage.name.lower(),
                "is_cancelled": held.is_cancelled,
            }

    # --- the children ---

    def attach_execution(self, link: FrameSocket, first: FromExecution) -> None:
        """Take a new execution process's hello and feed it again."""
        if first.hello is None:
            raise PeerClosedError("the execution process did not say what it holds")
        with self._changed:
            to_execution, to_monitor = self._table.meet_execution(first.hello, time.monotonic())
            self._execution = link
            self._has_met_execution = True
            self._must_register |= self._has_strangers()
            self._changed.notify_all()
            monitor = self._monitor
        _send(link, to_execution, _NOTHING_TO_DO)
        _send(monitor, to_monitor, _NOTHING_TO_TELL)

    def attach_monitor(self, link: FrameSocket, first: FromMonitor) -> None:
        """Take a new monitor process's hello and tell it all that it must know."""
        if first.hello is None:
            raise PeerClosedError("the monitor process did not say what it knows")
        with self._changed:
            message, is_unknown = self._table.meet_monitor(first.hello, time.monotonic())
            self._tell_if_empty()
            self._monitor = link
            self._polled = set(first.hello.polled)
            self._must_register |= is_unknown
            self._changed.notify_all()
            if self._reports_url:
                message = msgspec.structs.replace(
                    message, incarnation=self.incarnation, reports_url=self._reports_url
                )
        _send(link, message, _NOTHING_TO_TELL)

    def detach(self, link: FrameSocket) -> None:
        """Forget a link that has broken."""
        with self._lock:
            if self._execution is link:
                self._execution = None
            if self._monitor is link:
                self._monitor = None

    def hear_execution(self, message: FromExecution) -> None:
        """Learn what the execution process has done."""
        with self._lock:
            self._table.note_submitted(message.submitted)
            to_monitor = self._table.note_ended(message.ended)
            monitor = self._monitor
        _send(monitor, to_monitor, _NOTHING_TO_TELL)

    def hear_monitor(self, message: FromMonitor) -> None:
        """Learn what executors told and what the dag engine has acknowledged."""
        with self._changed:
            reply, is_unknown = self._table.note_told(message.notes)
            self._to_forget += self._table.note_acknowledged(message.acknowledged)
            self._tell_if_empty()
            self._polled.update(message.polled)
            if is_unknown or message.is_address_lost:
                self._must_register = True
            if self._must_register or message.polled:
                self._changed.notify_all()
            monitor = self._monitor
        if message.needs_answer:
            _send(monitor, reply, _NOTHING_TO_TELL)

    def _has_strangers(self) -> bool:
        return any(not held.token for held in self._table.held.values())

    # --- the registration ---

    def wait_gathered(self, timeout_s: float) -> list[str]:
        """Wait until children and executors have said what they hold; return who has not."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping or not self._find_missing(), timeout_s)
            return self._find_missing()

    def _find_missing(self) -> list[str]:
        missing = [] if self._has_met_execution else ["execution process"]
        if self._monitor is None:
            return [*missing, "monitor process"]
        return [*missing, *sorted(self._executors - self._polled)]

    def begin_registration(self) -> list[InventoryItem]:
        """Return all that is held; no batch is taken until `settle` or `abandon_registration`."""
        with self._lock:
            self._must_register = False
            self._is_registering = True
            return self._table.inventory()

    def abandon_registration(self) -> None:
        """Take batches again: the registration did not come about."""
        with self._lock:
            self._is_registering = False

    @property
    def is_registering(self) -> bool:
        """Whether a registration is under way."""
        with self._lock:
            return self._is_registering

    @property
    def epoch(self) -> int:
        """The epoch of the leader that was met last; 0 before the first."""
        with self._lock:
            return self._epoch

    def put_off_registration(self, epoch: int) -> None:
        """Learn who leads, who wants to hear what is held from now on."""
        with self._lock:
            self._epoch = max(self._epoch, epoch)
            self._is_registering = False

    def settle(self, reply: RegistrationReply, reports_url: str) -> None:
        """Apply the answer to a registration."""
        with self._lock:
            self._is_registering = False
            # Also where it is lower: the database may be an older copy, or a new one.
            self._epoch = reply.epoch
            self._reports_url = reports_url
            to_execution, to_monitor = self._table.settle(reply)
            self._tell_if_empty()
            execution, monitor = self._execution, self._monitor
        _send(execution, to_execution, _NOTHING_TO_DO)
        told = msgspec.structs.replace(
            to_monitor, incarnation=self.incarnation, reports_url=reports_url
        )
        _send(monitor, told, _NOTHING_TO_TELL)

    def wait_registration_wanted(self, timeout_s: float) -> bool:
        """Wait for a reason to register again, `timeout_s` at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._must_register or self._is_stopping, timeout_s)
            return self._must_register

    # --- upkeep ---

    def submit_overdue(self) -> int:
        """Submit again what no executor has spoken of for long; return how many."""
        with self._lock:
            tasks = self._table.find_overdue(time.monotonic())
            forget, self._to_forget = self._to_forget, []
            execution = self._execution
        for task in tasks:
            log.info("task_submitted_again attempt_id=%s", task.attempt_id)
        _send(execution, ToExecution(tasks=tasks, forget=forget), _NOTHING_TO_DO)
        return len(tasks)

    def count(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return how many attempts are held by stage, and the totals since the start."""
        with self._lock:
            return self._table.count_stages(), dict(self._table.counts)

    def measure_backlog(self) -> tuple[int, float]:
        """Tell how many ends the dag engine has not acknowledged, and for how long the oldest has
        been seen by this call, which is made with every heartbeat.
        """
        now = time.monotonic()
        with self._lock:
            ended = [held.attempt_id for held in self._table.held.values() if held.has_ended]
        self._ended_since = {one: self._ended_since.get(one, now) for one in ended}
        return len(ended), max((now - since for since in self._ended_since.values()), default=0.0)

    def links(self) -> dict[str, bool]:
        """Tell which children are connected."""
        with self._lock:
            return {"execution": self._execution is not None, "monitor": self._monitor is not None}

    def wait_empty(self, timeout_s: float | None) -> bool:
        """Wait until the end of everything that was taken on is acknowledged."""
        with self._emptied:
            return self._emptied.wait_for(lambda: not self._table.held, timeout_s)

    def _tell_if_empty(self) -> None:
        if not self._table.held:
            self._emptied.notify_all()

    def stop(self) -> None:
        """Take nothing more on, and end every wait."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()


def _do_nothing() -> None:
    """Stand in until somebody wants to hear of new leaders."""


def _send(
    link: FrameSocket | None, message: ToExecution | ToMonitor, nothing: ToExecution | ToMonitor
) -> None:
    """Send a message that is not empty; a child that is gone is fed again when it is back."""
    if link is None or message == nothing:
        return
    try:
        link.send(msgspec.json.encode(message))
    except PeerClosedError as error:
        log.warning("child_gone detail=%s", error)
