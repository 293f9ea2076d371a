"""The network between schedulers and operator engines: it loses, repeats, delays and reorders."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dag_engine.scheduler.inbox import (
    EngineLeaves,
    EngineRegisters,
    Item,
    Reply,
    ReportsCame,
)
from executors.base import Dispatch, DispatchItem, Registration, ReportBatch
from tests.support.simulation.timeline import Timeline

if TYPE_CHECKING:
    from tests.support.simulation.engine import SimulatedEngine
    from tests.support.simulation.host import SchedulerHost

CLIENT_PATIENCE_S = 5.0
REGISTER_CLIENT_PATIENCE_S = 30.0
REPORT_PATIENCE_S = 2.0
REGISTER_PATIENCE_S = 20.0
_NOT_WANTED = 409
_NEVER_TAKEN = 413


@dataclass(slots=True)
class Rates:
    """How often something happens to a message: it or its answer is lost, it comes a second time
    (up to `LATE_S` later), it is slow.
    """

    lost: float = 0.0
    answer_lost: float = 0.0
    repeated: float = 0.0
    slow: float = 0.0


LATE_S = 40.0


class Network:
    """Carries messages in virtual time."""

    def __init__(self, timeline: Timeline, chance: random.Random) -> None:
        self.rates = Rates()
        self.timeline = timeline
        self._chance = chance

    def is_hit(self, rate: float) -> bool:
        """Draw whether something happens."""
        return rate > 0.0 and self._chance.random() < rate

    def delay_s(self) -> float:
        """Draw how long a message travels."""
        if self.is_hit(self.rates.slow):
            return self._chance.uniform(0.05, 3.0)
        return 0.001 + 0.01 * self._chance.random()

    def ask(self, call: Call) -> None:
        """Bring a call to a scheduler; it is answered once, with None where no answer came."""
        if self.is_hit(self.rates.lost):
            self.timeline.after(self.delay_s(), call.finish, None)
            return
        self.timeline.after(self.delay_s(), self._arrive, call)
        if self.is_hit(self.rates.repeated):
            again = Call(call.engine, call.host, call.message, call.patience_s, lambda _: None)
            self.timeline.after(self._chance.uniform(0.1, LATE_S), self._arrive_again, again)

    def _arrive_again(self, call: Call) -> None:
        leader = call.engine.world.find_leader()
        if leader is not None:
            call.host = leader
            self._arrive(call)

    def _arrive(self, call: Call) -> None:
        host = call.host
        if call.engine.is_cut or not host.is_alive:
            call.finish(None)
        elif host.is_frozen:
            # It lies in the socket; whoever asked may have given up before it is read.
            if not call.is_waited_for:
                call.is_waited_for = True
                is_report = isinstance(call.message, ReportBatch)
                patience_s = CLIENT_PATIENCE_S if is_report else REGISTER_CLIENT_PATIENCE_S
                self.timeline.after(patience_s, call.finish, None)
            self.timeline.after(0.25, self._arrive, call)
        else:
            item = call.make_item()
            host.inbox.put(item)
            self.timeline.after(call.patience_s, self._withdraw, call, host, item)

    @staticmethod
    def _withdraw(call: Call, host: SchedulerHost, item: Item) -> None:
        if not call.is_answered:
            host.inbox.withdraw(item)
            call.finish(None)

    def answer(self, call: Call, value: Any) -> None:
        """Bring the answer back."""
        if self.is_hit(self.rates.answer_lost) or call.engine.is_cut:
            self.timeline.after(self.delay_s(), call.finish, None)
        else:
            self.timeline.after(self.delay_s(), call.finish, value)


class Call:
    """A request of an operator engine, on its way to a scheduler's inbox and back."""

    def __init__(
        self,
        engine: SimulatedEngine,
        host: SchedulerHost,
        message: ReportBatch | Registration | str,
        patience_s: float,
        on_answer: Callable[[Any], None],
    ) -> None:
        self.engine = engine
        self.host = host
        self.message = message
        self.patience_s = patience_s
        self.is_answered = False
        self.is_waited_for = False
        self._on_answer: Callable[[Any], None] | None = on_answer

    def make_item(self) -> Item:
        """Make what is put into the inbox."""
        reply = NetworkReply(self)
        if isinstance(self.message, ReportBatch):
            return ReportsCame(self.message, reply)
        if isinstance(self.message, Registration):
            return EngineRegisters(self.message, reply)
        return EngineLeaves(self.message, reply)

    def finish(self, value: Any) -> None:
        """Tell whoever asked, once."""
        on_answer, self._on_answer = self._on_answer, None
        if on_answer is not None:
            on_answer(None if isinstance(value, Exception) else value)


class NetworkReply(Reply):
    """The place for an answer that has to travel."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._process = call.host.process

    def set(self, value: Any) -> None:
        """Send the answer, unless the process is dead."""
        call, process = self._call, self._process
        if call.is_answered or process.is_dead:
            return
        process.pass_point("answer")
        call.is_answered = True
        process.host.world.promises.check_answer(call.message, value)
        call.engine.world.network.answer(call, value)


class NetworkSender:
    """Plays the sender thread of one scheduler for one life of one operator engine."""

    def __init__(
        self,
        host: SchedulerHost,
        engine_id: str,
        incarnation: str,
        epoch: int,
        on_refused: Callable[[str, str], None],
    ) -> None:
        self.is_closed = False
        self._process = host.process
        self._world = host.world
        self._engine = host.world.engines[engine_id]
        self._incarnation = incarnation
        self._epoch = epoch
        self._on_refused = on_refused
        self._tasks: list[DispatchItem] = []
        self._cancels: list[str] = []
        self._greeting = ""
        self._is_busy = False

    def greet(self, reports_url: str) -> None:
        """Say who leads now."""
        self._greeting = reports_url
        self.send([], [])

    def send(self, tasks: list[DispatchItem], cancels: list[str]) -> None:
        """Queue messages."""
        self._process.pass_point("send")
        self._tasks += tasks
        self._cancels += cancels
        if not self._is_busy:
            self._is_busy = True
            self._world.timeline.after(self._world.network.delay_s(), self._pump)

    def close(self) -> None:
        """Stop sending; what is queued is dropped."""
        self.is_closed = True

    def _pump(self) -> None:
        if (
            self.is_closed
            or self._process.is_dead
            or not (self._tasks or self._cancels or self._greeting)
        ):
            self._is_busy = False
            return
        message = Dispatch(
            epoch=self._epoch,
            incarnation=self._incarnation,
            tasks=self._tasks,
            cancels=self._cancels,
            reports_url=self._greeting,
        )
        self._tasks, self._cancels, self._greeting = [], [], ""
        self._deliver(message, 0.05)

    def _later(self, delay_s: float, work: Callable[..., None], *arguments: Any) -> None:
        self._world.timeline.after(delay_s, work, *arguments)

    def _deliver(self, message: Dispatch, pause_s: float) -> None:
        """Send until the message is taken or not wanted; what it will never take is told."""
        if self.is_closed or self._process.is_dead:
            return
        host = self._process.host
        if host.is_frozen:
            thaw_s = max(0.001, host.frozen_until - self._world.timeline.now)
            self._later(thaw_s, self._deliver, message, pause_s)
            return
        network, rates = self._world.network, self._world.network.rates
        status = 0
        if not network.is_hit(rates.lost):
            status = self._engine.receive(message)
            if network.is_hit(rates.repeated):
                late_s = self._world.chance.uniform(0.05, LATE_S)
                self._later(late_s, self._engine.receive, message)
        if status == _NEVER_TAKEN:
            self._take_apart(message)
        elif status not in (200, _NOT_WANTED) or network.is_hit(rates.answer_lost):
            self._later(pause_s, self._deliver, message, min(1.0, pause_s * 2))
            return
        self._later(network.delay_s(), self._pump)

    def _take_apart(self, message: Dispatch) -> None:
        for item in message.tasks:
            one = Dispatch(epoch=self._epoch, incarnation=self._incarnation, tasks=[item])
            if self._engine.receive(one) == _NEVER_TAKEN:
                self._on_refused(item.task.attempt_id, "413 it is too large")
        if message.cancels:
            self._engine.receive(
                Dispatch(epoch=self._epoch, incarnation=self._incarnation, cancels=message.cancels)
            )
