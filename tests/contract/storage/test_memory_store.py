"""The tables in memory, on which histories are simulated, do what the real databases do.

The same random calls go to both: their answers, their errors and all rows have to be equal.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from dag_engine.core.changes import (
    ArtifactRow,
    AttemptRow,
    Batch,
    CommandResult,
    EntryRow,
    EventRow,
    FindingRow,
    RunRow,
    StaleReport,
    StoredEngine,
    TaskRow,
)
from dag_engine.storage import commands, runs, tables
from dag_engine.storage.database import Database
from dag_engine.storage.errors import StorageError
from dag_engine.storage.moments import to_text
from dag_engine.storage.rows import NewRun
from dag_engine.storage.scheduler_store import SchedulerStore
from tests.support.databases import expire_lease, lost_answer
from tests.support.simulation.store import MemoryStore
from tests.support.simulation.tables import (
    ArtifactTuple,
    AttemptTuple,
    EntryTuple,
    EventTuple,
    FindingTuple,
    Tables,
    TaskTuple,
)
from tests.support.stored_samples import MOMENT, make_plan, make_ref, make_registration

N_STEPS = 120
STATES = ("ready", "queued", "running", "succeeded", "failed")


class StandInProcess:
    """A process to which nothing happens but the loss of an answer."""

    def __init__(self) -> None:
        self.moment = 0.0
        self.n_lost_answers = 0

    def reach_database(self, what: str) -> None:
        del what

    def lose_answer(self) -> bool:
        self.n_lost_answers -= 1
        return self.n_lost_answers >= 0

    def now(self) -> float:
        return self.moment

    def wait(self, seconds: float) -> None:
        self.moment += seconds

    def is_lease_over(self, holder: str, lease_until: float) -> bool:
        del holder
        return lease_until <= self.moment


class Twins:
    """Two schedulers on a real database and two on tables in memory, called alike."""

    def __init__(self, database: Database, make: Callable[..., SchedulerStore], seed: int) -> None:
        self.chance = random.Random(seed)
        self.database = database
        self.tables = Tables()
        self.process = StandInProcess()
        self.real = [make(f"h{i}", 1000.0) for i in range(2)]
        self.memory = [MemoryStore(self.tables, self.process, f"h{i}", 1000.0) for i in range(2)]
        self.run_ids: list[str] = []
        self.seqs: dict[str, int] = {}

    def call(self, name: str, *arguments: Any) -> None:
        """Call one store and its twin; they must answer alike."""
        number = self.chance.randrange(2)
        answers = [
            _ask(getattr(stores[number], name), copy.deepcopy(arguments))
            for stores in (self.real, self.memory)
        ]
        assert answers[0] == answers[1], f"{name}{arguments}"

    def accept(self) -> None:
        plan = make_plan(self.chance.randint(1, 3))
        accepted = runs.accept_run(self.database, NewRun(dag_id="d", dag_version=1, plan=plan)).run
        self.tables.accept_run(accepted.id, plan, 0, accepted.created_at)
        self.run_ids.append(accepted.id)
        self.seqs[accepted.id] = 0

    def leave_command(self) -> None:
        run_id, kind = self.chance.choice(self.run_ids), self.chance.choice(("cancel", "pause"))
        left = commands.add_command(self.database, "default", run_id, kind)
        self.tables.add_command(run_id, kind, number=left.id)

    def lose_answers(self) -> None:
        """Let the next transaction of a store go through without an answer."""
        number = self.chance.randrange(2)
        batch = self.draw_batch()
        with self.one_answer_lost(self.real[number]):
            real = _ask(self.real[number].commit, (copy.deepcopy(batch),))
        self.process.n_lost_answers = 1
        memory = _ask(self.memory[number].commit, (copy.deepcopy(batch),))
        self.process.n_lost_answers = 0
        assert real == memory

    @contextlib.contextmanager
    def one_answer_lost(self, store: SchedulerStore) -> Iterator[None]:
        write, lost = store._session.write, []

        def lose(*arguments: Any) -> None:
            write(*arguments)
            if not lost:
                lost.append(True)
                raise lost_answer(self.database)

        store._session.write = lose
        yield
        store._session.write = write

    def expire(self) -> None:
        expire_lease(self.database)
        self.tables.seat.lease_until = self.process.moment

    # --- batches ----------------------------------------------------------------------------------

    def draw_batch(self) -> Batch:
        chance, batch = self.chance, Batch()
        run_id = chance.choice(self.run_ids)
        if chance.random() < 0.5:
            batch.consumed_runs.append(run_id)
        n_events = chance.randint(0, 3)
        first = self.seqs[run_id] + (chance.random() > 0.1)
        for seq in range(first, first + n_events):
            batch.events.append(self.draw_event(run_id, seq))
        if chance.random() < 0.7:
            batch.runs[run_id] = RunRow(
                run_id,
                chance.choice(STATES),
                "why",
                "because",
                MOMENT,
                MOMENT if chance.random() < 0.2 else None,
                first + n_events - 1,
                {"ready": 1, "queued": 0},
            )
        for index in range(chance.randint(0, len(self.tables.tasks[run_id]))):
            batch.tasks[run_id, index] = self.draw_task(run_id, index)
            number = chance.randint(1, 2)
            batch.attempts[run_id, index, number] = self.draw_attempt(run_id, index, number)
            batch.artifacts.append(ArtifactRow(run_id, index, 0, number, make_ref()))
            key = chance.choice(("one key", "another key"))
            batch.entries["default", key] = EntryRow("default", key, run_id, index, number, MOMENT)
            if chance.random() < 0.3:
                detail = chance.choice(("", "不见了"))
                batch.findings[run_id, index] = FindingRow(
                    run_id, index, "gone", "r1", number, 2, detail
                )
        if self.tables.commands and chance.random() < 0.3:
            batch.commands.append(
                CommandResult(chance.choice(list(self.tables.commands)), "applied")
            )
        if self.tables.engines and chance.random() < 0.3:
            name = chance.choice(sorted(self.tables.engines))
            batch.engines[name] = StoredEngine(name, "two", b"", is_alive=False)
        if chance.random() < 0.2:
            batch.stale_reports.append(StaleReport(f"{run_id}.0.1", '{"x": "迟"}'.encode()))
        return batch

    def draw_event(self, run_id: str, seq: int) -> EventRow:
        state = self.chance.choice(STATES)
        return EventRow(run_id, seq, MOMENT, "task", "算子_0", 1, "ready", state, "why", "so")

    def draw_task(self, run_id: str, index: int) -> TaskRow:
        chance = self.chance
        return TaskRow(
            run_id,
            index,
            f"算子_{index}",
            chance.choice(STATES),
            "why",
            chance.choice(("", "because")),
            chance.randint(0, 3),
            chance.choice((None, "engine-1")),
            n_losses=chance.randint(0, 3),
            not_before=chance.choice((None, MOMENT)),
            progress=chance.choice((None, {"done": 1.0, "total": 2.0, "message": "一半"})),
            metrics=chance.choice((None, {"auc": 0.5})),
        )

    def draw_attempt(self, run_id: str, index: int, number: int) -> AttemptRow:
        queued_at = self.chance.choice((None, MOMENT, MOMENT + dt.timedelta(seconds=1)))
        state = self.chance.choice(STATES)
        return AttemptRow(run_id, index, number, state, "engine-1", "why", queued_at=queued_at)

    # --- what both hold ---------------------------------------------------------------------------

    def compare(self) -> None:
        """Compare all rows."""
        memory = self.tables
        tasks = [row for run_id in sorted(memory.tasks) for row in memory.tasks[run_id].values()]
        events = [row for run_id in sorted(memory.events) for row in memory.events[run_id]]
        assert self.read(tables.tasks, TaskTuple) == [_plain(row) for row in tasks]
        assert self.read(tables.events, EventTuple) == [_plain(row) for row in events]
        for table, kind, rows in (
            (tables.attempts, AttemptTuple, memory.attempts),
            (tables.artifacts, ArtifactTuple, memory.artifacts),
            (tables.cache_entries, EntryTuple, memory.entries),
            (tables.cache_findings, FindingTuple, memory.findings),
        ):
            assert self.read(table, kind) == [_plain(rows[key]) for key in sorted(rows)]
        self.compare_runs()
        self.compare_engines()
        stale = self.read_rows(tables.stale_reports, "attempt_id outcome")
        assert stale == [_plain(row) for row in memory.stale_reports]
        seat = self.read_rows(tables.leader, "epoch batch holder catalogue_revision")
        here = memory.seat
        expected = _plain([here.epoch, here.batch, here.holder, here.catalogue_revision])
        assert not seat or seat == [expected]

    def compare_runs(self) -> None:
        names = "run_id state reason_code reason started_at ended_at last_seq counts"
        rows = self.read_rows(tables.runs, f"{names} consumed_at")
        assert rows == [
            _plain([*(getattr(run, name) for name in names.split()), run.consumed_at and "set"])
            for _, run in sorted(self.tables.runs.items())
        ]
        rows = self.read_rows(tables.commands, "command_id kind result consumed_at")
        assert rows == [
            _plain([row.command_id, row.kind, row.result, row.consumed_at and "set"])
            for row in self.tables.commands.values()
        ]

    def compare_engines(self) -> None:
        names = "engine_id incarnation registration catalogue_digest is_alive"
        rows = self.read_rows(tables.operator_engines, f"{names} deregistered_at")
        assert rows == [
            _plain([*(getattr(row, name) for name in names.split()), row.deregistered_at and "set"])
            for _, row in sorted(self.tables.engines.items())
        ]
        offers = {
            (row[0], kind, *row[1:])
            for kind, table in (("algorithm", tables.algorithms), ("executor", tables.executors))
            for row in map(tuple, self.read_rows(table, "engine_id name offered_in"))
        }
        assert offers == {
            (name, *offer) for name, some in self.tables.offers.items() for offer in some
        }

    def read(self, table: sa.Table, kind: Any) -> list[list[Any]]:
        return self.read_rows(table, " ".join(kind._fields))

    def read_rows(self, table: sa.Table, names: str) -> list[list[Any]]:
        query = sa.select(*tables.columns(table, names)).order_by(*table.primary_key)
        found = self.database.read(lambda connection: connection.execute(query).all())
        blind = [name in ("consumed_at", "deregistered_at") for name in names.split()]
        return [
            [
                "set" if hide and value else value
                for hide, value in zip(blind, _plain(row), strict=True)
            ]
            for row in found
        ]


def _plain(row: Any) -> list[Any]:
    """Make values comparable: moments as text, JSON by its value, no text for none."""
    plain = []
    for value in row:
        if isinstance(value, dt.datetime):
            plain.append(to_text(value))
        elif isinstance(value, str) and value[:1] == "{":
            plain.append(json.loads(value))
        else:
            plain.append(value or None if isinstance(value, str) else value)
    return plain


def _ask(verb: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return verb(*arguments)
    except StorageError as error:
        return type(error).__name__


@pytest.mark.parametrize("seed", range(2))
def test_the_tables_in_memory_do_what_databases_do(
    database: Database, open_store: Callable[..., SchedulerStore], seed: int
) -> None:
    twins = Twins(database, open_store, seed)
    twins.accept()
    for number in range(N_STEPS):
        play_one_step(twins)
        if number % 8 == 0:
            twins.compare()
    twins.compare()
    assert twins.tables.seat.batch > 10


def play_one_step(twins: Twins) -> None:
    draw = twins.chance.random()
    if draw < 0.35:
        run_id_seqs = dict(twins.seqs)
        twins.call("commit", twins.draw_batch())
        for run_id in run_id_seqs:
            twins.seqs[run_id] = len(twins.tables.events[run_id])
    elif draw < 0.45:
        twins.lose_answers()
        for run_id in twins.seqs:
            twins.seqs[run_id] = len(twins.tables.events[run_id])
    elif draw < 0.65:
        twins.call("try_lead")
    else:
        play_rare_step(twins)


def play_rare_step(twins: Twins) -> None:
    chance = twins.chance
    engine_id = chance.choice(("engine-1", "engine-2"))
    step = chance.choice(
        ("accept", "command", "renew", "resign", "expire", "expire", "register", "leave", "read")
    )
    if step == "accept":
        twins.accept()
    elif step == "command":
        twins.leave_command()
    elif step == "expire":
        twins.expire()
    elif step == "register":
        digest = chance.choice(("digest-1", "digest-2"))
        twins.call("save_registration", make_registration(engine_id, catalogue_digest=digest))
    elif step == "leave":
        twins.call("deregister_engine", engine_id)
    elif step == "read":
        for verb in ("find_new_run_ids", "load_live_run_ids", "find_commands", "load_engines"):
            twins.call(verb)
        twins.call("load_runs", [*twins.run_ids, "r-unknown"])
        twins.call("touch_engines", [engine_id], MOMENT)
    else:
        twins.call(step)
