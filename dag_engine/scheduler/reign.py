"""One reign of a leader: everything it holds in memory, from taking over to losing the lease.

A reign handles what the inbox brings, lets the core decide, commits all changes of all runs in one
transaction, and only then answers, sends and tells the feed. When its leadership is lost, the
object is dropped with all it holds.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from dag_engine.core import machine
from dag_engine.core.changes import CommandResult, StaleReport
from dag_engine.core.live import (
    Decision,
    LiveRun,
    LiveTask,
    Timer,
    attempt_id_of,
    revive,
    split_attempt_id,
)
from dag_engine.core.placement import Engine, Placement
from dag_engine.core.states import OPEN_TASK_STATES, TaskState
from dag_engine.scheduler.claims import check_outputs
from dag_engine.scheduler.dispatching import build_task
from dag_engine.scheduler.engines import Engines, LiveEngine
from dag_engine.scheduler.errors import StaleRegistrationError, StoreMismatchError
from dag_engine.scheduler.feed import Feed
from dag_engine.scheduler.inbox import (
    DispatchRefused,
    EngineLeaves,
    EngineRegisters,
    EngineStopped,
    HintCame,
    Item,
    Reply,
    ReportsCame,
)
from dag_engine.scheduler.library import FormerFound
from dag_engine.scheduler.reuse import Reuse
from dag_engine.scheduler.settings import Surroundings
from dag_engine.scheduler.timers import Timers
from dag_engine.storage.errors import LeadershipLostError
from dag_engine.storage.scheduler_store import SchedulerStore
from executors.base import (
    DispatchItem,
    Registration,
    RegistrationReply,
    Report,
    ReportBatch,
    ReportReply,
    Verdict,
    VerdictWord,
)

log = logging.getLogger(__name__)

POLL_S = 1.0
"""How often the database is asked for runs and commands whose hint was lost."""
EXPLAIN_AFTER_S = 0.1
"""A task that waits longer than this is stored as `ready` with its reason."""
TOUCH_S = 5.0
"""How often it is stored which engines were heard of."""
REMEMBERED_ENDS = 50_000
LOAD_CHUNK = 50


class Reign:
    """The state of a leading scheduler."""

    def __init__(
        self,
        store: SchedulerStore,
        epoch: int,
        surroundings: Surroundings,
        feed: Feed,
        tell: Callable[[Item], None],
    ) -> None:
        self._store = store
        self._epoch = epoch
        self._around = surroundings
        self._feed = feed
        self._clock = surroundings.clock
        self._runs: dict[str, LiveRun] = {}
        self._placement = Placement(limits=surroundings.queue_limits)
        self.engines = Engines(
            self._placement,
            epoch,
            surroundings,
            lambda attempt_id, detail: tell(DispatchRefused(attempt_id, detail)),
        )
        self._reuse = Reuse(surroundings.open_library, tell, self._clock, self._placement)
        self._timers = Timers(self._is_wanted)
        self._recent_ends: OrderedDict[str, None] = OrderedDict()
        self._answers: list[tuple[Reply, Any]] = []
        self._hinted: list[str] = []
        self._has_commands = False
        self._next_poll = 0.0
        self._next_touch = 0.0
        self._explain_at: float | None = None

    # --- taking over ------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Load the engines and every live run, and hand out again what may never have arrived."""
        for stored in self._store.load_engines():
            self.engines.adopt(stored)
        self.engines.greet(self._around.reports_url)
        run_ids = self._store.load_live_run_ids()
        waiting: list[tuple[LiveRun, LiveTask]] = []
        for start in range(0, len(run_ids), LOAD_CHUNK):
            out = self._new_decision()
            for stored_run in self._store.load_runs(run_ids[start : start + LOAD_CHUNK]):
                run = revive(stored_run)
                self._runs[run.run_id] = run
                for task in run.tasks:
                    if task.state in OPEN_TASK_STATES:
                        self._recover(run, task, out)
                machine.resume_after_takeover(run, out)
            self._settle_closed(out)
            # Nothing is handed out before all that is out already has been counted.
            waiting += out.ready
            out.ready = []
            self._carry_out(out)
            # Runs in plenty take longer to load than a lease lasts.
            if not self._store.renew():
                raise LeadershipLostError(self._epoch)
        self._conclude(Decision(now=self._clock.now(), ready=waiting))
        log.info("took_over epoch=%d runs=%d", self._epoch, len(self._runs))

    def _recover(self, run: LiveRun, task: LiveTask, out: Decision) -> None:
        live = self.engines.find(task.row.engine_id)
        attempt_id = attempt_id_of(run.run_id, task.row.index, task.row.attempt)
        if live is None:
            machine.lose_attempt(run, task.row.index, "Its operator engine is gone.", out)
            return
        self._placement.count_out(attempt_id, live.engine.engine_id, run, task)
        live.out.add(attempt_id)
        if task.state is TaskState.QUEUED:
            live.letters.append(self._letter(run, task))

    # --- one round --------------------------------------------------------------------------------

    def wait_s(self) -> float:
        """Return how long the loop may wait for the inbox."""
        now = self._clock.monotonic()
        moments = [self._next_poll, *self._timers.next_s()]
        if self._explain_at is not None:
            moments.append(self._explain_at)
        return max(0.0, min(moments) - now)

    def round(self, items: list[Item]) -> None:
        """Handle what has come and what is due, commit, then carry out.

        Raises `LeadershipLostError`, or `BatchRefusedError` where the database refuses what was
        decided; then nothing was written and this reign is at its end.
        """
        out = self._new_decision()
        for item in items:
            self._handle(item, out)
        self._fire_timers(out)
        if self._clock.monotonic() >= self._next_poll:
            self._poll(out)
        self._look_for_work(out)
        self._conclude(out)

    def abandon(self, error: Exception | None) -> None:
        """Stop sending, and answer everybody who still waits; None leaves them waiting."""
        for reply, _ in self._answers:
            if error is not None:
                reply.set(error)
        self._answers.clear()
        self._reuse.close()
        self.engines.close()

    def status(self) -> dict[str, Any]:
        """Describe the reign for people and metrics."""
        return {
            "epoch": self._epoch,
            "live_runs": len(self._runs),
            "waiting": self._placement.waiting(),
            "waiting_why": self._placement.waiting_why(),
            "engines": self.engines.describe(),
        }

    def _new_decision(self) -> Decision:
        return Decision(now=self._clock.now(), jitter=self._around.draw())

    def _conclude(self, out: Decision) -> None:
        self._settle_closed(out)
        self._reuse.offer(out)
        self._placement.place(out, self._send)
        while out.ready:  # what was made while they waited for a place
            self._reuse.offer(out)
            self._placement.place(out, self._send)
        self._explain(out)
        self._carry_out(out)

    def _carry_out(self, out: Decision) -> None:
        """Store what was decided; then send and tell."""
        if out.batch:
            self._around.figures.commit(self._store.commit, out.batch)
        for engine_id, attempt_id in out.kills:
            live = self.engines.find(engine_id)
            if live is not None:
                live.kills.append(attempt_id)
        # First what a task waits for, then the answers, then what people watch.
        self.engines.flush()
        for reply, value in self._answers:
            reply.set(value)
        self._answers.clear()
        self._feed.publish(out.batch)
        self._reuse.send()
        self._timers.add(out, self._clock.monotonic())
        for run in out.ended:
            self._runs.pop(run.run_id, None)

    def _settle_closed(self, out: Decision) -> None:
        for engine_id, attempt_id in out.closed:
            out.ready += self._placement.count_back(attempt_id)
            live = self.engines.find(engine_id)
            if live is not None:
                live.out.discard(attempt_id)
        out.closed.clear()

    def _explain(self, out: Decision) -> None:
        now = self._clock.monotonic()
        if not self._placement.has_unexplained:
            self._explain_at = None
        elif self._explain_at is None:
            self._explain_at = now + EXPLAIN_AFTER_S
        elif now >= self._explain_at:
            self._placement.explain(out)
            self._explain_at = None

    def _send(self, run: LiveRun, task: LiveTask, engine: Engine) -> None:
        live = self.engines.find(engine.engine_id)
        assert live is not None, "only engines that are alive are chosen"
        letter = self._letter(run, task)
        live.out.add(letter.task.attempt_id)
        live.letters.append(letter)

    def _letter(self, run: LiveRun, task: LiveTask) -> DispatchItem:
        message = build_task(run, task, self._around.store_url)
        return DispatchItem(task=message, token=self._around.tokens.make(message.attempt_id))

    # --- what comes in ----------------------------------------------------------------------------

    def _handle(self, item: Item, out: Decision) -> None:
        match item:
            case ReportsCame():
                self._hear(item, out)
            case EngineRegisters():
                self._register(item, out)
            case HintCame():
                self._hinted += item.run_ids
                self._has_commands |= item.has_commands
            case EngineLeaves():
                self._remove_engine(item, out)
            case EngineStopped():
                live = self.engines.find(item.engine_id)
                if live is not None and live.registration.incarnation == item.incarnation:
                    text = "Its operator engine was stopped."
                    self._lose_engine(item.engine_id, text, out, is_handed_back=True)
            case DispatchRefused():
                self._give_up(item, out)
            case FormerFound():
                self._reuse.hear(item, self._runs, out)

    def _hear(self, item: ReportsCame, out: Decision) -> None:
        batch = item.batch
        verdicts = [self._report(report, out) for report in batch.reports]
        for report, verdict in zip(batch.reports, verdicts, strict=True):
            if verdict.verdict == "applied" and report.outcome.is_handed_back:
                self._spare_engine(batch)
            if verdict.verdict == "stale" and report.outcome.kind != "ended":
                # It runs, and nobody waits for it: its dispatch came very late.
                out.kills.append((batch.engine_id, verdict.attempt_id))
        self._around.figures.note_verdicts(verdicts)
        self._answers.append((item.reply, ReportReply(verdicts=verdicts)))

    def _report(self, report: Report, out: Decision) -> Verdict:
        outcome = report.outcome
        attempt_id = outcome.attempt_id
        word: VerdictWord = "refused"
        message = "The token is not that of the attempt."
        if self._around.tokens.is_right(attempt_id, report.token):
            word, message = self._apply(report, out), ""
        if word in ("stale", "refused"):
            log.info("report_not_applied attempt_id=%.64s verdict=%s", attempt_id, word)
        if word == "stale":  # what bears no right token may be anybody's, and is not kept
            out.batch.stale_reports.append(StaleReport(attempt_id, msgspec.json.encode(outcome)))
        return Verdict(attempt_id=attempt_id, kind=outcome.kind, verdict=word, message=message)

    def _apply(self, report: Report, out: Decision) -> VerdictWord:
        outcome = report.outcome
        try:
            run_id, index, attempt = split_attempt_id(outcome.attempt_id)
        except ValueError:
            return "refused"
        if outcome.attempt_id in self._recent_ends:
            return "duplicate"
        run = self._runs.get(run_id)
        if run is None or not 0 <= index < len(run.tasks):
            return "stale"
        task = run.tasks[index]
        if run.tasks[index].row.attempt != attempt:
            if outcome.kind == "ended":
                machine.note_deaths(run, {outcome.attempt_id}, out)
            return "stale"
        if outcome.kind != "ended":
            return machine.attempt_started(run, index, outcome, out)
        if task.state in OPEN_TASK_STATES:
            outcome = check_outputs(outcome, self._around.store_url, run, task)
        word = machine.attempt_ended(run, index, outcome, out)
        if word == "applied":
            self._remember_end(outcome.attempt_id)
        self._settle_closed(out)
        return word

    def _remember_end(self, attempt_id: str) -> None:
        self._recent_ends[attempt_id] = None
        if len(self._recent_ends) > REMEMBERED_ENDS:
            self._recent_ends.popitem(last=False)

    def _register(self, item: EngineRegisters, out: Decision) -> None:
        registration = item.registration
        if registration.store_marker != self._around.store_marker:
            self._answers.append((item.reply, StoreMismatchError(self._around.store_url)))
            return
        if self.engines.is_outdated(registration):
            self._answers.append((item.reply, StaleRegistrationError(registration.engine_id)))
            return
        if self.engines.is_of_former_reign(registration):
            self._answers.append((item.reply, self._greet_engine(is_put_off=True)))
            return
        self._store.save_registration(registration)
        # What has become of its former life in this very round must not be written over it.
        out.batch.engines.pop(registration.engine_id, None)
        live = self.engines.admit(registration)
        self._reconcile(registration, live, out)
        held = [entry.attempt_id for entry in registration.inventory]
        wanted = [attempt_id for attempt_id in held if attempt_id in live.out]
        reply = self._greet_engine(
            tokens={attempt_id: self._around.tokens.make(attempt_id) for attempt_id in wanted},
            forget=[attempt_id for attempt_id in held if attempt_id not in live.out],
            acknowledged=[
                entry.attempt_id
                for entry in registration.inventory
                if entry.stage == "ended" and entry.attempt_id in self._recent_ends
            ],
        )
        self._answers.append((item.reply, reply))
        told = (registration.engine_id, registration.incarnation, len(held))
        log.info("engine_registered engine_id=%s incarnation=%s held=%d", *told)

    def _greet_engine(self, **fields: Any) -> RegistrationReply:
        return RegistrationReply(
            epoch=self._epoch,
            reports_url=self._around.reports_url,
            heartbeat_s=self._around.heartbeat_s,
            lease_s=self._around.engine_lease_s,
            **fields,
        )

    def _reconcile(self, registration: Registration, live: LiveEngine, out: Decision) -> None:
        """Compare what the engine holds with what it was handed: send again, or give up."""
        held = {entry.attempt_id for entry in registration.inventory}
        for attempt_id in sorted(live.out - held):
            run_id, index, _ = split_attempt_id(attempt_id)
            run = self._runs[run_id]
            task = run.tasks[index]
            if task.state is TaskState.QUEUED:
                live.letters.append(self._letter(run, task))
            else:
                text = "The operator engine started again and no longer holds it."
                machine.lose_attempt(run, index, text, out)
        self._forget_dying(registration.engine_id, held, out)
        self._settle_closed(out)

    def _remove_engine(self, item: EngineLeaves, out: Decision) -> None:
        """Forget an engine for good, with what it alone offers."""
        if self.engines.find(item.engine_id) is not None:
            self._lose_engine(item.engine_id, "The operator engine was deregistered.", out)
            out.batch.engines.pop(item.engine_id)
        self.engines.remove(item.engine_id)
        self._store.deregister_engine(item.engine_id)
        self._answers.append((item.reply, {"deregistered": item.engine_id}))

    def _spare_engine(self, batch: ReportBatch) -> None:
        """Hand nothing to an engine that hands back, until its next heartbeat says otherwise."""
        live = self.engines.find(batch.engine_id)
        if live is not None and live.registration.incarnation == batch.incarnation:
            live.engine.is_leaving = True

    def _give_up(self, item: DispatchRefused, out: Decision) -> None:
        """Fail an attempt that its operator engine will never take, or cannot be given."""
        run_id, index, attempt = split_attempt_id(item.attempt_id)
        run = self._runs.get(run_id)
        if run is not None and run.tasks[index].row.attempt == attempt:
            machine.refuse_attempt(run, index, item.detail, out)
            self._settle_closed(out)

    def _look_for_work(self, out: Decision) -> None:
        """Take up new runs and carry out commands, once for all that told of them: a command that
        is read again before the commit would be carried out twice.
        """
        hinted, self._hinted = self._hinted, []
        is_full = self._load_new(hinted, out)
        if self._has_commands:
            self._has_commands = False
            is_full |= self._run_commands(out)
        if is_full:
            self._next_poll = self._clock.monotonic()

    def _load_new(self, run_ids: list[str], out: Decision) -> bool:
        """Take up runs that are new, so many at most as leave the lease alone; tell whether there
        may be more of them.
        """
        unknown = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in self._runs]
        n_before = len(self._runs)
        for stored in self._store.load_runs(unknown[:LOAD_CHUNK]) if unknown else ():
            if stored.state == "pending":
                run = revive(stored)
                self._runs[run.run_id] = run
                machine.start_run(run, out)
        return len(unknown) > LOAD_CHUNK and len(self._runs) > n_before

    def _run_commands(self, out: Decision) -> bool:
        """Carry out what waits; tell whether there may be more of it."""
        commands = self._store.find_commands(LOAD_CHUNK)
        self._load_new([command.run_id for command in commands], out)
        for command in commands:
            run = self._runs.get(command.run_id)
            result = "impossible" if run is None else machine.obey(run, command, out)
            out.batch.commands.append(CommandResult(command.id, result))
            log.info(
                "command_done run_id=%s kind=%s result=%s", command.run_id, command.kind, result
            )
        self._settle_closed(out)
        return len(commands) == LOAD_CHUNK

    # --- what is due ------------------------------------------------------------------------------

    def _is_wanted(self, timer: Timer) -> bool:
        run = self._runs.get(timer.run_id)
        return run is not None and machine.waits_for(run, timer)

    def _fire_timers(self, out: Decision) -> None:
        for timer in self._timers.take_due(self._clock.monotonic()):
            run = self._runs.get(timer.run_id)
            if run is not None:
                machine.fire(run, timer, out)
        self._settle_closed(out)

    def _poll(self, out: Decision) -> None:
        """Find in the database what no hint told of, and engines whose lease is over."""
        self._next_poll = self._clock.monotonic() + POLL_S
        self._hinted += self._store.find_new_run_ids(LOAD_CHUNK + 1)
        self._has_commands = True
        self._reuse.wait_no_longer(self._runs, out)
        for engine_id in self.engines.find_expired():
            text = f"Operator engine {engine_id} has not been heard of for its lease."
            self._lose_engine(engine_id, text, out)
        if self._clock.monotonic() >= self._next_touch:
            self._next_touch = self._clock.monotonic() + TOUCH_S
            self._store.touch_engines(self.engines.find_heard(TOUCH_S), out.now)

    def _lose_engine(
        self, engine_id: str, text: str, out: Decision, *, is_handed_back: bool = False
    ) -> None:
        log.warning("engine_lost engine_id=%s reason=%s", engine_id, text)
        live = self.engines.find(engine_id)
        assert live is not None, "only engines that are alive expire"
        for attempt_id in sorted(self.engines.dismiss(engine_id)):
            run_id, index, _ = split_attempt_id(attempt_id)
            run = self._runs[run_id]
            machine.lose_attempt(run, index, text, out, is_handed_back=is_handed_back)
        out.batch.engines[engine_id] = live.make_row()
        self._forget_dying(engine_id, set(), out)
        self._settle_closed(out)

    def _forget_dying(self, engine_id: str, held: set[str], out: Decision) -> None:
        """Wait no longer for the death of attempts that the engine does not hold."""
        for run in [run for run in self._runs.values() if run.dying]:
            gone = {
                attempt_id
                for attempt_id in run.dying - held
                if run.tasks[split_attempt_id(attempt_id)[1]].row.engine_id == engine_id
            }
            if gone:
                machine.note_deaths(run, gone, out)
