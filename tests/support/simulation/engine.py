"""An operator engine in virtual time: its real tables of attempts and outcomes, without threads.

Main holds an `AttemptTable`, the monitor process an `Outbox`, and the pool of executors outlives
both. What passes between the three is not lost unless one of them is restarted; what passes between
them and the dag engine goes over the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from executors.base import (
    AlgorithmOffer,
    Dispatch,
    ExecutorOffer,
    Heartbeat,
    Outcome,
    Registration,
    RegistrationReply,
    Report,
    ReportBatch,
    ReportReply,
)
from operator_engine.attempts import AttemptTable
from operator_engine.messages import ExecutionHello, ToExecution, ToMonitor
from operator_engine.outbox import Outbox, Release
from tests.support.simulation.network import (
    REGISTER_PATIENCE_S,
    REPORT_PATIENCE_S,
    Call,
)
from tests.support.simulation.pool import Pool
from tests.support.simulation.timeline import VirtualClock

if TYPE_CHECKING:
    from tests.support.simulation.host import SchedulerHost
    from tests.support.simulation.world import World

_OFFER = AlgorithmOffer(name="noop", entry="m:f", version="1", code_version="1+a")
_LONGEST_PAUSE_S = 2.0


class SimulatedEngine:
    """An operator engine; `executors` maps the names of its executors to their slots."""

    def __init__(
        self, world: World, engine_id: str, labels: dict[str, str], executors: dict[str, int]
    ) -> None:
        self.world = world
        self.engine_id = engine_id
        self.labels = labels
        self.executors = executors
        self.clock = VirtualClock(world.timeline)
        self.pool = Pool(self)
        self.is_up = False
        self.is_leaving = False
        self.cut_until = 0.0
        self.silent_since = 0.0
        self.too_large: set[str] = set()
        self._life = 0
        self._n_registrations = 0
        self._is_waiting_to_register = 0
        self._monitor_life = 0
        self._table = AttemptTable()
        self._outbox = Outbox()
        self._epoch = 0
        self._reports_host = ""
        self._is_falling_back = False
        self._is_registered = False
        self._is_registering = False
        self._must_register = False
        self._is_reporting = False
        self._pump_at: float | None = None
        self._report_pause_s = 0.05

    @property
    def is_cut(self) -> bool:
        """Whether no message reaches it or leaves it just now."""
        return self.cut_until > self.world.timeline.now

    @property
    def is_silent(self) -> bool:
        """Whether it gives no sign of life just now."""
        return self.is_cut or not self.is_up

    @property
    def incarnation(self) -> str:
        """Name of main's present life."""
        return f"{self.engine_id}:{self._life}"

    # --- life and death ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start main; it asks what the monitor and the execution process hold, and registers."""
        self._life += 1
        self.is_up = True
        self.is_leaving = False
        self._table = AttemptTable()
        self._epoch = 0
        self._is_registered = self._is_registering = self._must_register = False
        self._meet_monitor()
        self._meet_execution()
        self.world.timeline.after(0.05, self._register, self._life)

    def stop_main(self) -> None:
        """Kill main alone."""
        self.fall_silent()
        self.is_up = False
        self._life += 1

    def holds(self, attempt_id: str) -> bool:
        """Tell whether it has an attempt that has not ended, and the leader must know of it.

        Once it was started again, a late word of a former life may have told the leader otherwise.
        """
        if self._life > 1:
            return False
        job = self.pool.jobs.get(attempt_id)
        is_open = job is not None and job.stage != "ended"
        return self.is_up and is_open and attempt_id in self._table.held

    def fall_silent(self) -> None:
        """Note that it gives no sign of life from now on."""
        if not self.is_silent:
            self.silent_since = self.world.timeline.now

    def restart_monitor(self) -> None:
        """Kill the monitor process; the new one asks the executors what they hold."""
        self._monitor_life += 1
        self._outbox = Outbox()
        self._is_reporting = False
        self._pump_at = None
        self._report_pause_s = 0.05
        by_executor: dict[str, list[Outcome]] = {name: [] for name in self.executors}
        for attempt_id, job in self.pool.jobs.items():
            by_executor[job.task.executor].append(self.pool.jobs[attempt_id].outcome)
        for executor, outcomes in by_executor.items():
            self._tell_outbox(executor, outcomes)
        if self.is_up:
            self._meet_monitor()

    def restart_execution(self) -> None:
        """Kill the execution process: what it had not submitted yet it is given again."""
        if self.is_up:
            self._meet_execution()

    def crash(self, *, keeps_ends: bool, names_losses: bool) -> None:
        """Lose the machine: every process, and what runs there."""
        self.stop_main()
        self.pool.crash(keeps_ends=keeps_ends, names_losses=names_losses)
        self._outbox = Outbox()
        self._monitor_life += 1
        self._is_reporting = False
        self._pump_at = None

    def leave(self, life: int) -> None:
        """End in good order: hand back what has not ended, say so, and stop."""
        if life != self._life or not self.is_up:
            return
        self.pool.hand_back()
        host = self.world.find_leader()
        if host is not None and not self.is_cut:
            beat = Heartbeat(incarnation=self.incarnation, is_leaving=True, has_left=True)
            host.beat(self.engine_id, beat)
        self.crash(keeps_ends=True, names_losses=False)

    def begin_leaving(self, grace_s: float) -> None:
        """Take nothing more on, and leave after a grace time."""
        self.is_leaving = True
        self.world.timeline.after(grace_s, self.leave, self._life)

    def recover(self) -> None:
        """Start what does not run."""
        if not self.is_up:
            self.restart_monitor()
            self.start()

    def _meet_monitor(self) -> None:
        hello = self._outbox.make_hello(self.executors)
        message, is_unknown = self._table.meet_monitor(hello, self.world.timeline.now)
        self._must_register |= is_unknown
        self._tell_monitor(message)

    def _meet_execution(self) -> None:
        held = [job.task for job in self.pool.jobs.values() if job.stage != "ended"]
        hello = ExecutionHello(submitted=held)
        to_execution, to_monitor = self._table.meet_execution(hello, self.world.timeline.now)
        self._must_register |= any(not held.token for held in self._table.held.values())
        self._execute(to_execution)
        self._tell_monitor(to_monitor)

    # --- what the dag engine wishes ---------------------------------------------------------------

    def receive(self, dispatch: Dispatch) -> int:
        """Take a batch on; returns the status of the answer, 0 where none comes."""
        if not self.is_up or self.is_cut:
            return 0
        if dispatch.incarnation != self.incarnation or dispatch.epoch < self._epoch:
            return 409
        leader = (dispatch.epoch, dispatch.reports_url)
        if dispatch.reports_url and leader != (self._epoch, self._reports_host):
            self._epoch, self._reports_host = leader
            self._is_falling_back = False
            self._must_register = True
            self._pump_soon(0.0)
        if self._is_registering:
            return 503
        if any(item.task.operator in self.too_large for item in dispatch.tasks):
            return 413
        self._epoch = dispatch.epoch
        orders = self._table.cancel(dispatch.cancels)
        to_execution, to_monitor = self._table.accept(
            dispatch.tasks, self.executors, self.world.timeline.now
        )
        self._execute(ToExecution(tasks=to_execution.tasks, cancels=orders))
        self._tell_monitor(to_monitor)
        return 200

    def _execute(self, message: ToExecution) -> None:
        """Hand over to the executors, a moment later; an execution process may die before that."""
        if message.tasks or message.cancels:
            delay_s = 0.001 + 0.004 * self.world.chance.random()
            self.world.timeline.after(delay_s, self._submit, self._life, message)

    def _submit(self, life: int, message: ToExecution) -> None:
        for order in message.cancels:
            self.pool.cancel(order.attempt_id)
        if life != self._life or self.world.network.is_hit(self.world.submit_lost):
            self.world.timeline.after(0.5, self.restart_execution)
            return
        for task in message.tasks:
            self.pool.submit(task)
        self._table.note_submitted(task.attempt_id for task in message.tasks)

    # --- the monitor process ----------------------------------------------------------------------

    def hear_executor(self, executor: str, outcomes: list[Outcome]) -> None:
        """Take what one poll brought."""
        self._tell_outbox(executor, outcomes)
        self._pump_soon(0.0)

    def _tell_outbox(self, executor: str, outcomes: list[Outcome]) -> None:
        notes, releases = self._outbox.tell(
            executor, outcomes, self.world.timeline.now, self.clock.now()
        )
        self._release(releases)
        if notes and self.is_up:
            reply, is_unknown = self._table.note_told(notes)
            self._must_register |= is_unknown
            self._tell_monitor(reply)

    def _tell_monitor(self, message: ToMonitor) -> None:
        self._release(self._outbox.learn(message))
        self._pump_soon(0.0)

    def _release(self, releases: list[Release]) -> None:
        if releases:
            self.pool.release([release.attempt_id for release in releases])

    def _pump_soon(self, delay_s: float) -> None:
        at = self.world.timeline.now + delay_s
        if self._is_reporting or (self._pump_at is not None and self._pump_at <= at):
            return
        self._pump_at = at
        self.world.timeline.after(delay_s, self._pump, self._monitor_life, at)

    def _pump(self, life: int, planned: float) -> None:
        if life != self._monitor_life or planned != self._pump_at:
            return
        self._pump_at = None
        if not self._reports_host:
            return
        now = self.world.timeline.now
        reports, due = self._outbox.take(1000, now)
        if not reports:
            if due is not None:
                self._pump_soon(max(0.001, due - now))
            return
        host = self._choose_host()
        self._is_reporting = True
        batch = ReportBatch(engine_id=self.engine_id, incarnation=self.incarnation, reports=reports)
        self.world.sent_reports.append((self, batch))
        if host is None or self.is_cut:
            self.world.timeline.after(0.05, self._heard, life, reports, None)
            return
        self.world.network.ask(
            Call(self, host, batch, REPORT_PATIENCE_S, lambda a: self._heard(life, reports, a))
        )

    def _choose_host(self) -> SchedulerHost | None:
        if self._is_falling_back:
            return self.world.find_leader()
        return self.world.hosts.get(self._reports_host)

    def _heard(self, life: int, reports: list[Report], answer: ReportReply | None) -> None:
        """Settle what was acknowledged; what was not is sent again, perhaps elsewhere."""
        if life != self._monitor_life:
            return
        self._is_reporting = False
        if answer is None:
            self._outbox.put_back(reports)
            self._is_falling_back = not self._is_falling_back
            self._report_pause_s = min(_LONGEST_PAUSE_S, self._report_pause_s * 2)
            self._pump_soon(self._report_pause_s * self.world.chance.uniform(0.7, 1.0))
            return
        self._report_pause_s = 0.05
        judged = {(verdict.attempt_id, verdict.kind) for verdict in answer.verdicts}
        left = [r for r in reports if (r.outcome.attempt_id, r.outcome.kind) not in judged]
        ended, releases = self._outbox.acknowledge(answer.verdicts)
        self._outbox.put_back(left)
        if self.is_up:
            self._table.note_acknowledged(ended)
            self._must_register |= self._is_falling_back
        self._release(releases)
        self._pump_soon(0.0)

    # --- the registration -------------------------------------------------------------------------

    def _register(self, life: int) -> None:
        if life != self._life or self._is_registering:
            return
        host = self.world.find_leader()
        if host is None or self.is_cut:
            self._register_later(life)
            return
        self._must_register = False
        self._is_registering = True
        self._n_registrations += 1
        registration = Registration(
            engine_id=self.engine_id,
            incarnation=self.incarnation,
            number=self._n_registrations,
            epoch=self._epoch,
            url=self.engine_id,
            labels=self.labels,
            slots=sum(self.executors.values()),
            executors=[ExecutorOffer(name=n, slots=s) for n, s in self.executors.items()],
            algorithms=[_OFFER],
            catalogue_digest="d",
            store_marker="marker",
            inventory=self._table.inventory(),
        )
        self.world.sent_registrations.append((self, registration))
        self.world.network.ask(
            Call(self, host, registration, REGISTER_PATIENCE_S, lambda a: self._settle(life, a))
        )

    def _register_later(self, life: int) -> None:
        if self._is_waiting_to_register != life:
            self._is_waiting_to_register = life
            delay_s = self.world.chance.uniform(0.3, 2.0)
            self.world.timeline.after(delay_s, self._register_again, life)

    def _register_again(self, life: int) -> None:
        if self._is_waiting_to_register == life:
            self._is_waiting_to_register = 0
        self._register(life)

    def _settle(self, life: int, answer: Any) -> None:
        if life != self._life:
            return
        self._is_registering = False
        if not isinstance(answer, RegistrationReply):
            self.world.note_engine_fault(self.engine_id, "registration failed")
            self._register_later(life)
            return
        if answer.is_put_off:
            self._epoch = max(self._epoch, answer.epoch)
            self._register(life)
            return
        self._epoch = answer.epoch
        self._reports_host = answer.reports_url
        self._is_falling_back = False
        to_execution, to_monitor = self._table.settle(answer)
        self._execute(to_execution)
        self._tell_monitor(to_monitor)
        if not self._is_registered:
            self._is_registered = True
            self.world.timeline.after(self._beat_s(), self._beat, life)

    def _beat_s(self) -> float:
        # A reason to register is acted upon within a second.
        return 1.0 if self._must_register else self.world.heartbeat_s

    def _beat(self, life: int) -> None:
        """Give a sign of life, and register where that is wanted."""
        if life != self._life:
            return
        now = self.world.timeline.now
        for task in self._table.find_overdue(now):
            self._execute(ToExecution(tasks=[task]))
        network = self.world.network
        answer = None
        host = self.world.find_leader()
        if host is not None and not self.is_cut and not network.is_hit(network.rates.lost):
            beat = Heartbeat(incarnation=self.incarnation, is_leaving=self.is_leaving)
            answer = host.beat(self.engine_id, beat)
        if self._must_register or (answer is not None and not answer.is_known):
            self._register(life)
        self.world.timeline.after(self._beat_s(), self._beat, life)
