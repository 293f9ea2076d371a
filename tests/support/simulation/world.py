"""The world of one history: schedulers, operator engines, the database, clients, and their faults.

Everything that can be done to it is a method; whoever calls them (a seed, or hypothesis) decides
what happens when.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from dag_engine.core.dagfile.document import DagDocument
from dag_engine.core.planning import Selection
from dag_engine.storage.ids import N_RANDOM_BITS, new_run_id
from executors.base import Outcome, Registration, Report, ReportBatch, Task
from tests.support.event_replay import FINAL_RUNS
from tests.support.simulation.engine import SimulatedEngine
from tests.support.simulation.graphs import draw_document, find_unfinished, make_plan
from tests.support.simulation.host import HEARTBEAT_S, QUEUE_LIMITS, SchedulerHost
from tests.support.simulation.network import REPORT_PATIENCE_S, Call, Network, Rates
from tests.support.simulation.promises import Promises
from tests.support.simulation.tables import Tables
from tests.support.simulation.timeline import Timeline, VirtualClock

_ENDS = ("error", "error", "killed", "timeout", "out_of_memory", "too_few", "silent", "lost")
RESERVE = 2
"""How many tasks beyond its slots an engine is handed here; small, so that it binds."""


@dataclass(frozen=True, slots=True)
class Script:
    """What an attempt will do; `end` is None where it hangs."""

    duration_s: float
    end: str | None
    has_progress: bool


@dataclass(frozen=True, slots=True)
class Size:
    """How large a world is."""

    n_hosts: int = 1
    n_engines: int = 1
    trouble: float = 0.0


class World:
    """One history under way; where the seed is odd, former results stand in for equal work.

    `n_lean_looks` counts how often a look for a former result did not bring what there was.
    """

    n_lean_looks = 0

    def __init__(self, seed: int, size: Size) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.timeline = Timeline()
        self.tables = Tables()
        self.clock = VirtualClock(self.timeline)
        self.network = Network(self.timeline, self.chance)
        self.promises = Promises(self)
        self.tables.watch = self.promises.watch
        self.trace: list[str] = []
        self.points: dict[str, int] = {}
        self.known_dead: set[str] = set()
        self.engine_faults: dict[str, float] = {}
        self.queue_limits = QUEUE_LIMITS
        self.heartbeat_s = HEARTBEAT_S
        self.reserve = RESERVE
        self.commit_answer_lost = 0.0
        self.submit_lost = 0.0
        self.trouble = size.trouble
        self.has_too_large = False
        self.is_every_write_sure = True
        self.n_faults = 0
        self.disturbed_until = 0.0
        self.sent_registrations: list[tuple[SimulatedEngine, Registration]] = []
        self.sent_reports: list[tuple[SimulatedEngine, ReportBatch]] = []
        self._curses: dict[tuple[str, int], str | None] = {}
        self._away_until = 0.0
        self.documents: list[DagDocument] = []
        self.runs: list[tuple[str, int]] = []
        self.hosts = {f"s{i}": SchedulerHost(self, f"s{i}") for i in range(size.n_hosts)}
        self.engines: dict[str, SimulatedEngine] = {}
        for i in range(size.n_engines):
            labels = {"zone": "a"} if i == 0 else {}
            slots = {"local": self.chance.randint(1, 3)}
            if i == 0:
                slots["other"] = 1
            self.engines[f"e{i}"] = SimulatedEngine(self, f"e{i}", labels, slots)
        for host in self.hosts.values():
            host.start()
        for engine in self.engines.values():
            engine.start()

    # --- what everybody sees ----------------------------------------------------------------------

    @property
    def has_cache(self) -> bool:
        """Whether former results stand in."""
        return bool(self.seed % 2)

    @property
    def is_database_away(self) -> bool:
        """Whether nobody reaches the database just now."""
        return self._away_until > self.timeline.now

    def find_leader(self) -> SchedulerHost | None:
        """Return the host that the leader row names."""
        return self.hosts.get(self.tables.seat.holder.partition(":")[0])

    def note(self, what: str, whom: str = "") -> None:
        """Write into the trace."""
        self.trace.append(f"{self.timeline.now:8.3f} {what} {whom}")

    def note_engine_fault(self, engine_id: str, what: str, for_s: float = 0.0) -> None:
        """Remember when an operator engine was disturbed last."""
        if what:
            self.note(what, engine_id)
        until = self.timeline.now + for_s
        self.engine_faults[engine_id] = max(self.engine_faults.get(engine_id, -1e9), until)

    def script(self, task: Task) -> Script:
        """Draw what an attempt will do."""
        chance = self.chance
        duration_s = chance.choice((0.0005, 0.03, 0.2, 1.0, 2.0))
        end: str | None = "succeeded"
        curse = self._curse(task)
        if curse is not None:
            duration_s, end = 0.03, curse
        elif chance.random() < self.trouble:
            duration_s = chance.choice((0.01, 0.5, 0.5, 8.0, 8.0, 45.0))
            end = chance.choice(_ENDS)
            if end == "timeout" and (task.timeout_s is None or chance.random() < 0.3):
                end = "unstorable" if task.timeout_s is None else None
        elif chance.random() < 0.15:
            end = "error"
        has_progress = chance.random() < 0.1
        self.note(f"{task.attempt_id[-8:]} starts, will be {end} after", f"{duration_s} s")
        return Script(duration_s, end, has_progress)

    def _curse(self, task: Task) -> str | None:
        """Draw once for every task whether all its attempts end alike."""
        if self.trouble == 0.0:
            return None
        key = (task.run_id, task.index)
        if key not in self._curses:
            draw = self.chance.random()
            self._curses[key] = "killed" if draw < 0.03 else "error" if draw < 0.06 else None
        return self._curses[key]

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.timeline.run_until(self.timeline.now + seconds)

    # --- what clients do --------------------------------------------------------------------------

    def add_document(self, n_operators: int) -> int:
        """Draw a DAG; returns its number."""
        self.documents.append(draw_document(self.chance, n_operators, has_cache=self.has_cache))
        return len(self.documents) - 1

    def post_run(
        self,
        document: int,
        selection: Selection | None = None,
        base_run: str | None = None,
        priority: int = 0,
    ) -> str | None:
        """Post a run as a client does; None where it is not accepted."""
        if self.is_database_away:
            return None
        selection = selection or Selection()
        plan = make_plan(self.documents[document], self.tables, self.chance, selection, base_run)
        if plan is None:
            return None
        now = self.clock.now()
        run_id = new_run_id(now, self.chance.getrandbits(N_RANDOM_BITS))
        self.promises.accept(run_id, plan.tasks)
        self.tables.accept_run(run_id, plan, priority, now)
        self.runs.append((run_id, document))
        self.note(f"accepted {selection.range} of {len(plan.tasks)}", run_id)
        self._hint([run_id], has_commands=False)
        return run_id

    def follow_up(self, number: int, word: str) -> str | None:
        """Post a run that follows a former one, of a range of its DAG."""
        if not self.runs:
            return None
        run_id, document = self.runs[number % len(self.runs)]
        if self.tables.runs[run_id].state not in FINAL_RUNS:
            return None
        names = list(self.documents[document].operators)
        operators = [] if word in ("all", "failed") else [self.chance.choice(names)]
        unfinished = find_unfinished(self.tables, run_id) if word == "failed" else ()
        selection = Selection(word, operators, unfinished)
        return self.post_run(document, selection, run_id)

    def command(self, number: int, kind: str, operator: str | None = None) -> None:
        """Leave a command for a run or one of its tasks."""
        if self.is_database_away or not self.runs:
            return
        run_id, _ = self.runs[number % len(self.runs)]
        if operator is not None and operator not in self.promises.replays[run_id].indexes:
            return
        self.note(f"{kind} {operator or ''}", run_id)
        self.tables.add_command(run_id, kind, operator)
        self._hint([], has_commands=True)

    def _hint(self, run_ids: list[str], *, has_commands: bool) -> None:
        leader = self.find_leader()
        if leader is not None and not self.network.is_hit(self.network.rates.lost):
            delay_s = self.network.delay_s()
            self.timeline.after(delay_s, lambda: leader.hint(run_ids, has_commands=has_commands))

    # --- what goes wrong --------------------------------------------------------------------------

    def kill_host(self, host: SchedulerHost, down_s: float, *, is_known: bool) -> None:
        """Kill a scheduler; it is started again later."""
        if host.is_alive:
            self._fault("kill", host.name, down_s)
            host.kill(is_known=is_known)
            self.timeline.after(down_s, self._start_host, host)

    def _start_host(self, host: SchedulerHost) -> None:
        if not host.is_alive:
            self.note("start", host.name)
            host.start()

    def freeze_host(self, host: SchedulerHost, seconds: float) -> None:
        """Stop a scheduler's process; it wakes up later and knows nothing of it."""
        if host.is_alive:
            self._fault(f"freeze for {seconds:.1f} s", host.name, seconds)
            host.frozen_until = max(host.frozen_until, self.timeline.now + seconds)

    def resign_host(self, host: SchedulerHost, down_s: float) -> None:
        """Stop a scheduler in an orderly way and start it again."""
        self._fault("resign", host.name, down_s)
        host.resign()
        self.timeline.after(down_s, self._start_host, host)

    def set_trap(self, host: SchedulerHost, n_points: int, what: str, seconds: float) -> None:
        """Let something happen at the n-th point that a scheduler passes from now on."""

        def spring(point: str) -> None:
            self.note(f"at the point `{point}`", host.name)
            if what == "kill":
                self.kill_host(host, seconds, is_known=self.chance.random() < 0.5)
            elif what == "freeze":
                self.freeze_host(host, seconds)
            else:
                self.take_database_away(seconds)

        host.trap, host.trap_countdown = spring, n_points

    def take_database_away(self, seconds: float) -> None:
        """Let nobody reach the database for a while."""
        self._fault(f"database away for {seconds:.1f} s", "", seconds)
        self.is_every_write_sure = False
        self._away_until = max(self._away_until, self.timeline.now + seconds)

    def lose_commit_answers(self, rate: float, seconds: float) -> None:
        """Lose answers to commits for a while."""
        self._fault("commit answers are lost", "", seconds)
        self.commit_answer_lost = rate
        self.timeline.after(seconds, setattr, self, "commit_answer_lost", 0.0)

    def disturb_network(self, rates: Rates, seconds: float) -> None:
        """Lose, repeat and delay messages for a while."""
        self._fault(f"network {rates}", "", seconds)
        self.network.rates = rates
        if rates.lost > 0 or rates.answer_lost > 0 or rates.repeated > 0:
            for engine_id in self.engines:
                self.note_engine_fault(engine_id, "network", seconds + 40.0)
        self.timeline.after(seconds, self._calm_network, rates)

    def _calm_network(self, rates: Rates) -> None:
        if self.network.rates is rates:
            self.network.rates = Rates()

    def cut_engine(self, engine: SimulatedEngine, seconds: float) -> None:
        """Let no message reach an operator engine or leave it for a while."""
        self._engine_fault(engine, "cut off", seconds)
        engine.fall_silent()
        engine.cut_until = max(engine.cut_until, self.timeline.now + seconds)

    def restart_main(self, engine: SimulatedEngine, down_s: float) -> None:
        """Kill main alone and start it again."""
        if engine.is_up:
            self._engine_fault(engine, "main restarts", down_s)
            engine.stop_main()
            self.timeline.after(down_s, engine.recover)

    def restart_monitor(self, engine: SimulatedEngine) -> None:
        """Kill the monitor process alone."""
        self._engine_fault(engine, "monitor restarts")
        engine.restart_monitor()

    def restart_execution(self, engine: SimulatedEngine) -> None:
        """Kill the execution process alone."""
        self._engine_fault(engine, "execution restarts")
        engine.restart_execution()

    def lose_submits(self, seconds: float) -> None:
        """Let execution processes die with what they were handed, for a while."""
        self._fault("submits are lost", "", seconds)
        self.submit_lost = 0.4
        self.timeline.after(seconds, setattr, self, "submit_lost", 0.0)

    def crash_engine(
        self, engine: SimulatedEngine, down_s: float, *, keeps_ends: bool, names_losses: bool
    ) -> None:
        """Lose an operator engine's machine with all that runs there."""
        if engine.is_up:
            self._engine_fault(engine, f"crash, ends kept: {keeps_ends}", down_s)
            engine.crash(keeps_ends=keeps_ends, names_losses=names_losses)
            self.timeline.after(down_s, engine.recover)

    def leave_engine(self, engine: SimulatedEngine, grace_s: float, down_s: float) -> None:
        """Stop an operator engine in good order and start it again."""
        if engine.is_up:
            self._engine_fault(engine, "leaves in good order", grace_s + down_s)
            engine.begin_leaving(grace_s)
            self.timeline.after(grace_s + down_s, engine.recover)

    def kill_worker(self, engine: SimulatedEngine) -> None:
        """Kill the worker of one attempt."""
        running = sorted(engine.pool.running())
        if running:
            attempt_id = self.chance.choice(running)
            self._fault("worker killed", attempt_id)
            engine.pool.kill_worker(attempt_id)

    def deregister(self, engine: SimulatedEngine) -> None:
        """Deregister an operator engine that lives; it will register again."""
        leader = self.find_leader()
        if leader is not None:
            self._engine_fault(engine, "deregistered", 30.0)
            call = Call(engine, leader, engine.engine_id, 20.0, lambda _: None)
            self.network.ask(call)

    def change_slots(self, engine: SimulatedEngine, slots: int) -> None:
        """Let an operator engine have other slots from its next start on."""
        engine.executors = {**engine.executors, "local": slots}
        self.restart_main(engine, 0.2)

    def jump_clock(self, clock: VirtualClock, seconds: float) -> None:
        """Set the wall clock of one machine."""
        self._fault(f"clock jumps by {seconds:.0f} s", "")
        clock.skew_s += seconds

    def forge_report(self) -> None:
        """Report the success of an attempt without knowing its token."""
        leader = self.find_leader()
        out = sorted(self.promises.out)
        if leader is not None and out:
            attempt_id = self.chance.choice(out)
            self._fault("forged report", attempt_id)
            outcome = Outcome(attempt_id=attempt_id, kind="ended", state="succeeded")
            reports = [Report(outcome=outcome, token="forged")]
            engine = self.engines["e0"]
            batch = ReportBatch(engine_id="e0", incarnation="?", reports=reports)
            self.network.ask(Call(engine, leader, batch, REPORT_PATIENCE_S, lambda _: None))

    def repeat_old_reports(self) -> None:
        """Bring reports once more that were sent long ago, perhaps of attempts long replaced."""
        leader = self.find_leader()
        if leader is not None and self.sent_reports:
            engine, batch = self.chance.choice(self.sent_reports)
            self._fault("old reports come again", batch.reports[0].outcome.attempt_id)
            self.network.ask(Call(engine, leader, batch, REPORT_PATIENCE_S, lambda _: None))

    def repeat_old_registration(self) -> None:
        """Bring a registration once more whose operator engine has taken on other work since."""
        leader = self.find_leader()
        if leader is not None and self.sent_registrations:
            engine, registration = self.chance.choice(self.sent_registrations)
            self._engine_fault(engine, "an old registration comes again", 10.0)
            self.network.ask(Call(engine, leader, registration, 20.0, lambda _: None))

    def refuse_large(self, engine: SimulatedEngine, operator: str) -> None:
        """Let an operator engine take no task of an operator, for it is too large."""
        self._fault(f"{operator} is too large for", engine.engine_id)
        self.has_too_large = True
        engine.too_large.add(operator)

    def _fault(self, what: str, whom: str, for_s: float = 0.0) -> None:
        self.n_faults += 1
        self.disturbed_until = max(self.disturbed_until, self.timeline.now + for_s)
        self.note(what, whom)

    def _engine_fault(self, engine: SimulatedEngine, what: str, for_s: float = 0.0) -> None:
        self._fault(what, engine.engine_id, for_s)
        self.note_engine_fault(engine.engine_id, "", for_s)

    # --- the end ----------------------------------------------------------------------------------

    def heal(self) -> None:
        """End every fault."""
        self.note("heal")
        self._away_until = self.timeline.now
        self.network.rates = Rates()
        self.commit_answer_lost = self.submit_lost = self.trouble = 0.0
        for host in self.hosts.values():
            host.trap = None
            host.frozen_until = self.timeline.now
            if not host.is_alive:
                host.start()
        for engine in self.engines.values():
            engine.cut_until = self.timeline.now
            engine.recover()

    def _resume_paused(self) -> None:
        for number, (run_id, _) in enumerate(self.runs):
            if self.promises.replays[run_id].run_state in ("pausing", "paused"):
                self.command(number, "resume")

    def settle(self, limit_s: float = 400.0) -> None:
        """Let every run end once all faults have stopped, and check that nothing is left over."""
        self.heal()
        deadline = self.timeline.now + limit_s
        while self._is_busy() and self.timeline.now < deadline:
            self._resume_paused()
            self.advance(2.0)
        self.promises.check_end()
        self.note("end")

    def _is_busy(self) -> bool:
        tables = self.tables
        return bool(
            any(run.ended_at is None for run in tables.runs.values())
            or any(engine.pool.jobs for engine in self.engines.values())
            or any(command.consumed_at is None for command in tables.commands.values())
        )
