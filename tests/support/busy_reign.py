"""A leading scheduler with as many tasks in flight as wanted, and nothing stored."""

from __future__ import annotations

import datetime as dt
from collections import deque
from typing import Any, cast

from dag_engine.core.changes import Batch, StoredCommand, StoredEngine, StoredRun, TaskRow
from dag_engine.core.plan import Plan, PlannedInput, PlannedTask
from dag_engine.scheduler.clock import Clock
from dag_engine.scheduler.feed import Feed
from dag_engine.scheduler.inbox import EngineRegisters, HintCame, Item, ReportsCame
from dag_engine.scheduler.reign import LOAD_CHUNK, Reign
from dag_engine.scheduler.settings import Surroundings
from dag_engine.scheduler.tokens import AttemptTokens
from dag_engine.storage.batch_rows import make_steps
from dag_engine.storage.scheduler_store import SchedulerStore
from executors.base import (
    ArtifactRef,
    DispatchItem,
    ExecutorOffer,
    Outcome,
    Registration,
    Report,
    ReportBatch,
)
from tests.support.live_runs import NOON

TASKS_A_RUN = 10
TOKENS = AttemptTokens("secret")


class _StillClock(Clock):
    """A clock that stands until it is moved on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> dt.datetime:
        return NOON + dt.timedelta(seconds=self.seconds)


class _PlainStore:
    """Gives runs once and makes rows of what it is told to write."""

    def __init__(self) -> None:
        self.runs: dict[str, StoredRun] = {}
        self.commands: list[StoredCommand] = []
        self.n_rows = 0

    def load_engines(self) -> list[StoredEngine]:
        return []

    def load_live_run_ids(self) -> list[str]:
        return []

    def load_runs(self, run_ids: list[str]) -> list[StoredRun]:
        return [self.runs.pop(run_id) for run_id in run_ids if run_id in self.runs]

    def find_new_run_ids(self, limit: int) -> list[str]:
        return list(self.runs)[:limit]

    def find_commands(self, limit: int) -> list[StoredCommand]:
        commands, self.commands = self.commands[:limit], self.commands[limit:]
        return commands

    def save_registration(self, registration: Registration) -> None:
        del registration

    def touch_engines(self, engine_ids: list[str], now: dt.datetime) -> None:
        del engine_ids, now

    def commit(self, batch: Batch) -> None:
        self.n_rows += sum(len(step.rows) for step in make_steps(batch, {}, NOON))


class _Sent:
    """A sender that keeps what is out, oldest first."""

    is_closed = False

    def __init__(self) -> None:
        self.out: deque[str] = deque()

    def send(self, tasks: list[DispatchItem], cancels: list[str]) -> None:
        del cancels
        self.out.extend(item.task.attempt_id for item in tasks)

    def greet(self, reports_url: str) -> None:
        """Nobody listens."""

    def close(self) -> None:
        """Nothing is open."""


class BusyReign:
    """A reign with runs of two equal layers of tasks, on engines of some slots each."""

    def __init__(
        self,
        n_runs: int,
        *,
        tasks_a_run: int = TASKS_A_RUN,
        n_engines: int = 1,
        slots: int = 8,
        queues: int = 1,
    ) -> None:
        self.tasks_a_run = tasks_a_run
        self.clock = _StillClock()
        self.store = _PlainStore()
        self.senders: dict[str, _Sent] = {}
        self.reign = Reign(
            cast("SchedulerStore", self.store),
            1,
            Surroundings(
                tokens=TOKENS,
                store_url="file:///store",
                store_marker="marker",
                reports_url="http://nowhere",
                heartbeat_s=1.0,
                engine_lease_s=1e9,
                queue_limits={},
                clock=self.clock,
                draw=lambda: 0.5,
                open_sender=self._open_sender,
            ),
            Feed(),
            lambda _: None,
        )
        self.reign.take_over()
        for number in range(n_engines):
            self.turn(EngineRegisters(make_registration(f"engine_{number}", slots)))
        self.accept(*[(f"r{number:06d}", f"queue_{number % queues}") for number in range(n_runs)])
        # whoever waits has been told why
        for _ in range(2):
            self.pass_time(1.0)
            self.turn()

    def _open_sender(self, engine_id: str, *_: Any) -> _Sent:
        return self.senders.setdefault(engine_id, _Sent())

    def pass_time(self, seconds: float) -> None:
        """Move the clock on."""
        self.clock.seconds += seconds

    def turn(self, *items: Item) -> None:
        """Let the reign handle what has come."""
        self.reign.round(list(items))

    def accept(self, *runs: tuple[str, str]) -> None:
        """Take up runs, each by its id and the queue of its tasks."""
        for run_id, queue in runs:
            self.store.runs[run_id] = make_stored_run(run_id, queue, self.tasks_a_run)
        self.turn(HintCame([run_id for run_id, _ in runs]))
        for _ in range(len(runs) // LOAD_CHUNK):
            self.turn()

    def command(self, run_id: str, kind: str) -> None:
        """Carry out a command."""
        self.store.commands.append(StoredCommand(1, run_id, kind))
        self.turn(HintCame(has_commands=True))

    def end_one(self, engine_id: str = "engine_0") -> None:
        """Report the success of the oldest attempt that is out at an engine."""
        attempt_id = self.senders[engine_id].out.popleft()
        outcome = Outcome(
            attempt_id=attempt_id,
            kind="ended",
            state="succeeded",
            outputs=[ArtifactRef(type="report", inline={"value": 0})],
        )
        report = Report(outcome=outcome, token=TOKENS.make(attempt_id))
        batch = ReportBatch(engine_id=engine_id, incarnation="first", reports=[report])
        self.turn(ReportsCame(batch))


def make_registration(engine_id: str, slots: int) -> Registration:
    """Make what an operator engine says when it registers."""
    return Registration(
        engine_id=engine_id,
        incarnation="first",
        url=f"http://{engine_id}",
        store_marker="marker",
        executors=[ExecutorOffer(name="local", slots=slots)],
    )


def make_stored_run(run_id: str, queue: str, n_tasks: int) -> StoredRun:
    """Make a run of two equal layers of tasks that nobody has taken up."""
    half = n_tasks // 2
    tasks = [
        PlannedTask(
            index=index,
            operator=f"o{index}",
            algorithm="noop",
            entry="m:f",
            queue=queue,
            inputs=[[PlannedInput(source=index - half)]] if index >= half else [],
            upstream=[index - half] if index >= half else [],
            n_outputs=1,
        )
        for index in range(n_tasks)
    ]
    return StoredRun(
        run_id=run_id,
        namespace="default",
        state="pending",
        reason_code="",
        reason="",
        priority=0,
        created_at=NOON,
        started_at=None,
        last_seq=0,
        plan=Plan(tasks=tasks),
        tasks=[TaskRow(run_id, task.index, task.operator, "pending") for task in tasks],
        outputs={},
    )
