"""What is promised, checked from outside at every transaction, every answer and every turn.

It keeps books of its own: the events are replayed as they are committed, what executors really did
is noted by them, and every loss must be explained by a fault that was injected.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from dag_engine.core.changes import TaskRow
from dag_engine.core.live import LiveRun, revive, split_attempt_id
from dag_engine.core.plan import PlannedTask
from dag_engine.storage.batch_rows import Step
from dag_engine.storage.moments import from_database
from executors.base import Registration, ReportBatch, ReportReply, Task
from tests.support.event_replay import FINAL_TASKS, Replay, StoredState, check_stored
from tests.support.simulation.reuse_books import ReuseBooks
from tests.support.simulation.store import load_run, load_task
from tests.support.simulation.tables import AttemptTuple, EventTuple, TaskTuple

if TYPE_CHECKING:
    from tests.support.simulation.host import SchedulerHost
    from tests.support.simulation.world import World

LOSS_BUDGET = 3
EXPLAINED_WITHIN_S = 45.0
BACKSTOP_S = 30.0
TAKEN_OVER_WITHIN_S = 12.5
KILLED_WITHIN_S = 20.0
_INFRASTRUCTURE = frozenset({"lost", "killed"})
_OPEN = frozenset({"queued", "running"})


class PromiseBrokenError(BaseException):
    """Something happened that must never happen; nothing may take it for a failure of its own."""


def broken(text: str) -> PromiseBrokenError:
    """Make the error."""
    return PromiseBrokenError(text)


class Promises:
    """The books, and the checks against them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tables = world.tables
        self.replays: dict[str, Replay] = {}
        self.out: dict[str, tuple[str, PlannedTask]] = {}
        self.handed_out_at: dict[str, float] = {}
        self.told: dict[str, set[str]] = {}
        self.n_stale_answers = 0
        self.started: set[str] = set()
        self.closed_at: dict[str, float] = {}
        self.n_executions: Counter[tuple[str, str, int]] = Counter()
        self._n_applied: Counter[str] = Counter()
        self._n_handed_back: Counter[tuple[str, int]] = Counter()
        self._touched: dict[str, None] = {}
        self._loaded: dict[tuple[str, int], tuple[Any, TaskRow]] = {}
        self._announced: dict[str, Registration] = {}
        self._least_places: dict[tuple[str, str], float] = {}
        self.reuse = ReuseBooks(world.tables, self.replays)

    def accept(self, run_id: str, plan: list[PlannedTask]) -> None:
        """Begin the books of a run."""
        self.replays[run_id] = Replay(plan)

    # --- at every transaction ---------------------------------------------------------------------

    def watch(self, steps: list[Step]) -> None:
        """Check what a transaction wrote."""
        rows = dict(steps)
        new: list[str] = []
        self.reuse.is_undisturbed = not (self._world.n_faults or self._world.n_lean_looks)
        for row in rows.get("register_engine", ()):
            self._announced[row[0]] = msgspec.json.decode(row[7], type=Registration)
        for row in rows.get("add_event", ()):
            self._play(EventTuple._make(row), new)
        for row in rows.get("save_task", ()):
            self._check_task(TaskTuple._make(row))
        for row in rows.get("save_attempt", ()):
            self._check_attempt(AttemptTuple._make(row))
        for row in (*rows.get("update_run", ()), *rows.get("count_run", ())):
            self._check_run(row[-1])
        if new:
            self._check_limits(new)
        self.reuse.note_entries(rows.get("save_entry", []))

    def _play(self, event: Any, new: list[str]) -> None:
        self._touched[event.run_id] = None
        replay = self.replays[event.run_id]
        replay.play(event)
        if replay.problems:
            raise broken(f"{event.run_id}: {replay.problems[0]}")
        if event.kind != "task":
            return
        index = replay.indexes[event.operator]
        plan = replay.plan[index]
        attempt_id = f"{event.run_id}.{index}.{event.attempt}"
        if fault := self.reuse.find_fault(event, index, self.out):
            raise broken(f"{attempt_id}: {fault}")
        if event.to_state == "queued":
            self.handed_out_at[attempt_id] = self._world.timeline.now
            self.out[attempt_id] = ("", plan)
            new.append(attempt_id)
            n_back = self._n_handed_back[event.run_id, index]
            if event.attempt > 1 + plan.retries + LOSS_BUDGET + n_back:
                raise broken(f"{attempt_id} is beyond every budget")
        elif event.to_state == "running" and attempt_id not in self.started:
            raise broken(f"{attempt_id} counts as running, and no executor has started it")
        elif event.from_state in _OPEN and event.to_state not in _OPEN:
            del self.out[attempt_id]
            self.closed_at[attempt_id] = self._world.timeline.now
        if event.to_state == "retrying":
            self._check_retry(attempt_id, event.reason_code, plan)

    @staticmethod
    def _check_retry(attempt_id: str, reason: str, plan: PlannedTask) -> None:
        may_repeat = reason in plan.retry_on and reason != "invalid_input"
        if reason not in _INFRASTRUCTURE and not may_repeat:
            raise broken(f"{attempt_id} is repeated after {reason}")

    def _check_task(self, row: Any) -> None:
        self._touched[row.run_id] = None
        self.reuse.note_task(row)
        replay = self.replays[row.run_id]
        told = replay.states[row.idx], replay.attempts[row.idx]
        if (row.state, row.attempt) != told:
            raise broken(
                f"{row.run_id}: {row.operator} is {row.state, row.attempt}, told is {told}"
            )
        if row.state != "ready" and row.reason_code != replay.reasons[row.idx]:
            raise broken(f"{row.run_id}: {row.operator} has the reason {row.reason_code}")
        if row.n_losses > LOSS_BUDGET + 1 or row.n_failures > replay.plan[row.idx].retries:
            raise broken(f"{row.run_id}: {row.operator} is beyond its budgets")
        if row.n_losses > LOSS_BUDGET and row.reason_code != "quarantined":
            raise broken(f"{row.run_id}: {row.operator} is not put in quarantine")

    def _check_attempt(self, row: Any) -> None:
        replay = self.replays[row.run_id]
        state = replay.attempt_state(row.idx, row.attempt)
        name = f"{row.run_id}.{row.idx}.{row.attempt}"
        if row.state != state:
            raise broken(f"attempt {name} is stored as {row.state}, its events say {state}")
        if row.state == "succeeded":
            self._note_pace(replay.plan[row.idx], row)
        if name in self.out:
            self.out[name] = (row.engine_id, self.out[name][1])
        elif not self._is_explained(name, row):
            raise broken(
                f"attempt {name} ended {row.state} {row.reason_code} ({row.message}), its executor "
                f"told {sorted(self.told.get(name, ()))}"
            )

    def _note_pace(self, plan: PlannedTask, row: Any) -> None:
        """Note what an attempt takes at least of a place: 10 ms are a whole, and none less than an
        eighth.
        """
        began, ended = from_database(row.started_at), from_database(row.ended_at)
        if began is not None and ended is not None:
            places = min(1.0, max(1 / 8, (ended - began).total_seconds() / 0.01))
            key = plan.executor, plan.algorithm
            self._least_places[key] = min(places, self._least_places.get(key, 1.0))

    def _is_explained(self, name: str, row: Any) -> bool:
        """Tell whether an end is what the executor told, or follows from a fault or a command."""
        told = self.told.get(name, set())
        if row.state == "succeeded":
            return "succeeded" in told
        if row.state == "cancelled" or row.reason_code in told:
            return True
        began = self.handed_out_at[name]
        if row.reason_code == "lost":
            if "handed_back" in told or row.message == "Its operator engine was stopped.":
                self._n_handed_back[row.run_id, row.idx] += 1
                return True
            if "no longer holds it" in row.message:
                return not self._world.engines[row.engine_id].holds(name)
            fault_at = self._world.engine_faults.get(row.engine_id, -1e9)
            return "silent" in told or fault_at > began - EXPLAINED_WITHIN_S
        if row.reason_code == "timeout":
            timeout_s = self.replays[row.run_id].plan[row.idx].timeout_s
            waited_s = self._world.timeline.now - began
            return timeout_s is not None and waited_s >= timeout_s + BACKSTOP_S
        if row.reason_code == "invalid_output":
            return "too_few" in told
        is_too_large = "413" in row.message and self._world.has_too_large
        return row.reason_code == "error" and ("unstorable" in told or is_too_large)

    def _check_run(self, run_id: str) -> None:
        self._touched[run_id] = None
        row, replay = self._tables.runs[run_id], self.replays[run_id]
        found = row.state, row.reason_code, row.last_seq, row.started_at, row.ended_at
        told = (
            replay.run_state,
            replay.run_reason,
            replay.last_seq,
            replay.started_at,
            replay.ended_at,
        )
        if found != told:
            raise broken(f"{run_id} is stored as {found}, its events say {told}")
        counts = {state: n for state, n in json.loads(row.counts).items() if n}
        if counts != replay.counts():
            raise broken(f"{run_id} counts {counts}, its events say {replay.counts()}")

    def _check_limits(self, new: list[str]) -> None:
        queues: Counter[str] = Counter()
        places: dict[tuple[str, str], float] = defaultdict(float)
        for engine_id, plan in self.out.values():
            queues[plan.queue] += 1
            part = self._least_places.get((plan.executor, plan.algorithm), 1.0)
            places[engine_id, plan.executor] += part
        for name in new:
            if name not in self.out:
                continue
            engine_id, plan = self.out[name]
            limit = self._world.queue_limits.get(plan.queue)
            if limit is not None and queues[plan.queue] > limit:
                raise broken(f"{queues[plan.queue]} tasks of the queue {plan.queue} are out")
            engine = self._announced[engine_id]
            slots = sum(o.slots for o in engine.executors if o.name == plan.executor)
            window = slots + max(self._world.reserve, slots)
            if places[engine_id, plan.executor] > window + 7 / 8:
                raise broken(f"{places[engine_id, plan.executor]} places are out at {engine_id}")
            if any(engine.labels.get(key) != value for key, value in plan.labels.items()):
                raise broken(f"{name} is handed to {engine_id}, which lacks its labels")

    # --- at every execution and every answer ------------------------------------------------------

    def check_execution(self, engine_id: str, n_crashes: int, task: Task) -> None:
        """Check an attempt that an executor starts: it and all its inputs were committed."""
        key = (*split_attempt_id(task.attempt_id),)
        row = self._tables.attempts.get(key)
        if row is None or row.engine_id != engine_id:
            raise broken(f"{task.attempt_id} runs on {engine_id}, which was never committed")
        for ref in (ref for port in task.inputs for ref in port):
            source = self._tables.attempts[split_attempt_id(ref.inline["from"])]
            if source.state != "succeeded":
                raise broken(f"{task.attempt_id} starts with what {ref.inline['from']} left")
        self.started.add(task.attempt_id)
        life = (task.attempt_id, engine_id, n_crashes)
        self.n_executions[life] += 1
        if self.n_executions[life] > 1:
            raise broken(f"{task.attempt_id} is started twice by one executor")

    def note_end(self, attempt_id: str, end: str) -> None:
        """Note what an executor really did; what nobody wants any more is killed before long."""
        self.told.setdefault(attempt_id, set()).add(end)
        closed_at = self.closed_at.get(attempt_id)
        if closed_at is not None and end != "cancelled":
            since = max(closed_at, self._world.disturbed_until)
            if self._world.timeline.now - since > KILLED_WITHIN_S:
                raise broken(f"{attempt_id} ran on though it was given up at {closed_at:.1f} s")

    def check_answer(self, message: Any, value: Any) -> None:
        """Check what is answered to reports: an acknowledged end is stored."""
        if not isinstance(message, ReportBatch) or not isinstance(value, ReportReply):
            return
        asked = [(report.outcome.attempt_id, report.outcome.kind) for report in message.reports]
        if asked != [(verdict.attempt_id, verdict.kind) for verdict in value.verdicts]:
            raise broken(f"{asked} is answered with {value.verdicts}")
        for report, verdict in zip(message.reports, value.verdicts, strict=True):
            is_forged = report.token == "forged"
            told = self.told.get(verdict.attempt_id, set())
            if (verdict.verdict == "refused") != is_forged and "unstorable" not in told:
                raise broken(f"{verdict} to a report with the token {report.token:.6}")
            self.n_stale_answers += verdict.verdict == "stale"
            if verdict.kind == "ended" and not is_forged:
                self._check_acknowledged(verdict.attempt_id, verdict.verdict)

    def _check_acknowledged(self, attempt_id: str, word: str) -> None:
        if attempt_id in self.out:
            raise broken(f"the end of {attempt_id} is answered {word} before it is stored")
        if word == "applied":
            self._n_applied[attempt_id] += 1
            if self._n_applied[attempt_id] > 1:
                raise broken(f"the end of {attempt_id} is applied twice")

    # --- after every turn -------------------------------------------------------------------------

    def check_memory(self, host: SchedulerHost) -> None:
        """Check that what a leader holds is what a successor would load now."""
        reign = host.scheduler.reign
        if reign is not None:
            self._check_silent(host)
        if reign is None or not self._touched or self._tables.seat.epoch != host.store.epoch:
            return
        touched, self._touched = self._touched, {}
        for run_id in touched:
            self._compare(run_id, reign._runs.get(run_id))
        live_ids = self._tables.find_live()
        if sorted(reign._runs) != live_ids:
            raise broken(f"{host.name} holds {sorted(reign._runs)}, {live_ids} live")
        placement = reign._placement
        if placement._out.keys() != self.out.keys():
            raise broken(f"{sorted(placement._out)} count as out, {sorted(self.out)} are")
        queues = Counter(plan.queue for _, plan in self.out.values())
        if +Counter(placement._n_queued) != queues:
            raise broken(f"queues count {placement._n_queued}, out are {queues}")
        for live in reign.engines._live.values():
            mine = {
                n for n, (engine_id, _) in self.out.items() if engine_id == live.engine.engine_id
            }
            if live.engine.is_alive and live.out != mine:
                raise broken(f"{live.out} count as out at {live.engine.engine_id}, {mine} are")
            parts = sum(placement._out[name].weight for name in mine)
            if sum(live.engine.taken.values()) != parts:
                raise broken(f"{live.engine.engine_id} counts {live.engine.taken}, {mine} are out")

    def _check_silent(self, host: SchedulerHost) -> None:
        """Check that the work of an engine that is silent for long is not waited for."""
        now = self._world.timeline.now
        for engine in self._world.engines.values():
            if engine.is_silent and now - host.leads_since > TAKEN_OVER_WITHIN_S:
                held = [
                    n for n, (engine_id, _) in self.out.items() if engine_id == engine.engine_id
                ]
                if held and now - engine.silent_since > TAKEN_OVER_WITHIN_S:
                    raise broken(f"{held} wait for {engine.engine_id}, silent for long")

    def _compare(self, run_id: str, live: LiveRun | None) -> None:
        if self._tables.runs[run_id].ended_at is not None:
            if live is not None:
                raise broken(f"{run_id} is over and still held")
            return
        if live is None:
            raise broken(f"{run_id} is not held")
        fresh = revive(load_run(self._tables, run_id, self._load_task))
        if describe_live(fresh) != describe_live(live):
            raise broken(
                f"{run_id} is held as {describe_live(live)}, a successor would load "
                f"{describe_live(fresh)}"
            )

    def _load_task(self, row: Any) -> TaskRow:
        """Load a task that is only looked at, once for every change of its row."""
        known = self._loaded.get((row.run_id, row.idx))
        if known is None or known[0] is not row:
            known = self._loaded[row.run_id, row.idx] = (row, load_task(row))
        return known[1]

    # --- at the end -------------------------------------------------------------------------------

    def check_end(self) -> None:
        """Check that nothing that was accepted was lost, and that nothing is left over."""
        for run_id, replay in self.replays.items():
            problems = check_stored(replay, stored_state(self._world, run_id))
            if problems:
                raise broken(problems[0])
            if self._tables.runs[run_id].ended_at is None:
                raise broken(f"{run_id} never ends: {replay.run_state} {replay.tasks()}")
            if any(state not in FINAL_TASKS for state in replay.states):
                raise broken(f"{run_id} is over, its tasks are not: {replay.tasks()}")
        for command in self._tables.commands.values():
            if command.consumed_at is None:
                raise broken(f"command {command.command_id} {command.kind} is never carried out")
        for engine in self._world.engines.values():
            if engine.pool.jobs:
                held = {name: job.stage for name, job in engine.pool.jobs.items()}
                raise broken(f"{engine.engine_id} still holds {held}")
        if self._world.is_every_write_sure and self.n_stale_answers > len(
            self._tables.stale_reports
        ):
            raise broken("a stale report was not recorded")


def describe_live(run: LiveRun) -> list[Any]:
    """List what a live run decides by."""
    row = run.row
    return [
        run.state,
        (row.state, row.reason_code, row.reason, row.started_at, row.last_seq),
        {state: number for state, number in row.counts.items() if number},
        (run.n_unfinished, run.n_open, run.is_stopping, run.priority, run.created_at),
        [(task.state, task.row, task.outputs) for task in run.tasks],
        [
            (task.n_waiting, task.is_called, task.is_provided)
            for task in run.tasks
            if not task.is_final
        ],
    ]


def stored_state(world: World, run_id: str) -> StoredState:
    """Take what is stored of a run from the tables."""
    tables = world.tables
    row = tables.runs[run_id]
    return StoredState(
        run_id=run_id,
        state=row.state,
        reason_code=row.reason_code,
        last_seq=row.last_seq,
        counts=json.loads(row.counts),
        started_at=row.started_at,
        ended_at=row.ended_at,
        tasks=[tables.tasks[run_id][task.index] for task in row.plan.tasks],
        attempts=[
            _Attempt(attempt.idx, attempt.attempt, attempt.state)
            for attempt in tables.attempts.values()
            if attempt.run_id == run_id
        ],
    )


class _Attempt:
    __slots__ = ("attempt", "index", "state")

    def __init__(self, index: int, attempt: int, state: str) -> None:
        self.index, self.attempt, self.state = index, attempt, state
