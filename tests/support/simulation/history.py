"""Histories from seeds: what happens when is drawn, the same seed gives the same history."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from unittest import mock

from tests.support.simulation.network import Rates
from tests.support.simulation.promises import PromiseBrokenError
from tests.support.simulation.world import RESERVE, Size, World

LASTS_S = 18.0
POLL_S = 2.9
"""Just below what the scheduler takes for a stop of its own, so that little time is spent idle."""
COLLECT_EVERY = 100
RANGES = ("failed", "failed", "all", "from", "to", "only", "children")


@dataclass(frozen=True, slots=True)
class Broken:
    """A history that broke a promise, with its trace."""

    seed: int
    error: str
    trace: list[str]

    def __str__(self) -> str:
        trace = "\n".join(self.trace[-80:])
        return (
            f"seed {self.seed}: {self.error}\n{trace}\n"
            f"repeat it: .venv/bin/python -m tests.support.simulation {self.seed}"
        )


@dataclass(slots=True)
class Report:
    """What a number of histories came to."""

    n_histories: int = 0
    n_runs: int = 0
    n_attempts: int = 0
    n_faults: int = 0
    n_transactions: int = 0
    virtual_s: float = 0.0
    n_hits: int = 0
    n_waits: int = 0
    points: Counter[str] = field(default_factory=Counter)
    run_states: Counter[str] = field(default_factory=Counter)
    task_moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    run_moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    broken: list[Broken] = field(default_factory=list)

    def add(self, world: World) -> None:
        """Count one history."""
        self.n_histories += 1
        self.n_runs += len(world.tables.runs)
        self.n_attempts += len(world.tables.attempts)
        self.n_faults += world.n_faults
        self.n_transactions += world.tables.seat.batch
        self.virtual_s += world.timeline.now
        self.n_hits += world.promises.reuse.n_hits
        self.n_waits += world.promises.reuse.n_waits
        self.points.update(world.points)
        self.run_states.update(run.state for run in world.tables.runs.values())
        for events in world.tables.events.values():
            for event in events:
                moves = self.run_moves if event.kind == "run" else self.task_moves
                moves[event.from_state, event.to_state] += 1

    def __str__(self) -> str:
        return (
            f"histories={self.n_histories} runs={self.n_runs} attempts={self.n_attempts} "
            f"faults={self.n_faults} transactions={self.n_transactions} "
            f"virtual_hours={self.virtual_s / 3600:.1f} broken={len(self.broken)}"
        )


def run_histories(seeds: Iterable[int], *, stop_after: int = 1) -> Report:
    """Play one history for each seed; stop once so many have broken a promise."""
    report = Report()
    with prepared():
        for seed in seeds:
            world = make_world(seed)
            error = play(world)
            report.add(world)
            if report.n_histories % COLLECT_EVERY == 0:
                gc.collect()
            if error is not None:
                report.broken.append(Broken(seed, error, world.trace))
                if len(report.broken) >= stop_after:
                    break
    return report


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Let small numbers bind, keep logs quiet, and ask no real machine which process lives."""
    leadership = "dag_engine.storage.leadership"
    with (
        mock.patch("dag_engine.core.placement.SMALLEST_RESERVE", RESERVE),
        mock.patch("dag_engine.scheduler.reign.POLL_S", POLL_S),
        mock.patch(f"{leadership}.is_surely_dead", _knows_nobody),
        mock.patch(f"{leadership}.own_process", _is_nobody),
    ):
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        gc.freeze()
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
            gc.unfreeze()
            logging.disable(before)


def _knows_nobody(host: str, pid: int, started: int) -> bool:
    del host, pid, started
    return False


def _is_nobody() -> tuple[str, int, int]:
    return "", 0, 0


def make_world(seed: int) -> World:
    """Draw a world and plan all that will happen in it."""
    chance = random.Random(f"plan {seed}")
    draw = chance.random()
    is_wide, is_small, is_quiet = draw < 0.02, draw > 0.33, chance.random() < 0.1
    size = Size(
        n_hosts=chance.choice((1, 1, 2)),
        n_engines=1 if is_small else chance.choice((1, 2)),
        trouble=0.0 if is_quiet else chance.choice((0.05, 0.2, 0.4)),
    )
    world = World(seed, size)
    for _ in range(1 if is_small else chance.choice((1, 2))):
        n_operators = chance.randint(1, 4 if is_small else 8)
        world.add_document(chance.randint(14, 26) if is_wide else n_operators)
    for i in range(1 if is_small else chance.choice((1, 2, 3))):
        document = chance.randrange(len(world.documents))
        at = 0.2 if i == 0 else chance.uniform(0.2, LASTS_S / 2)
        world.timeline.after(at, _post, world, document, chance.choice((0, 0, 10)))
    if not is_quiet:
        _plan_wishes(world, chance)
        for _ in range(chance.choice((1, 2, 3, 4) if is_small else (1, 2, 4, 8))):
            fault = chance.choices(_FAULTS, _WEIGHTS)[0]
            world.timeline.after(chance.uniform(0.0, LASTS_S * 0.8), fault, world)
    return world


def play(world: World) -> str | None:
    """Play a history to its end; return how it broke a promise, if it did."""
    try:
        world.advance(LASTS_S)
        world.settle()
    except (Exception, PromiseBrokenError) as error:  # noqa: BLE001 - the seed must be told
        return f"{type(error).__name__}: {error}"
    return None


def digest(world: World) -> str:
    """Return a digest of all that a history wrote; equal for equal histories."""
    told = hashlib.sha256()
    for events in world.tables.events.values():
        told.update(repr(events).encode())
    told.update("\n".join(world.trace).encode())
    return told.hexdigest()


# --- what is planned ------------------------------------------------------------------------------


def _post(world: World, document: int, priority: int) -> None:
    if world.post_run(document, priority=priority) is None:
        world.timeline.after(1.0, _post, world, document, priority)


def _plan_wishes(world: World, chance: random.Random) -> None:
    """Plan commands, and runs that follow others."""
    for _ in range(chance.choice((0, 0, 1, 1, 3))):
        kind = chance.choice(("cancel", "pause", "pause", "task", "task", "resume"))
        number = chance.randrange(4)
        at = chance.uniform(0.2, chance.choice((1.5, 4.0, LASTS_S * 0.7)))
        operator = f"t{chance.randrange(7)}" if kind == "task" else None
        kind = "cancel" if kind == "task" else kind
        for _ in range(chance.choice((1, 1, 2))):
            world.timeline.after(at, world.command, number, kind, operator)
        if kind == "pause":
            _plan_end_of_pause(world, chance, number, at + chance.uniform(0.01, 8))
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        at = chance.uniform(LASTS_S * 0.3, LASTS_S)
        world.timeline.after(at, world.follow_up, chance.randrange(4), chance.choice(RANGES))


def _plan_end_of_pause(world: World, chance: random.Random, number: int, at: float) -> None:
    after = chance.choice(("resume", "resume", "cancel", "tasks"))
    if after != "tasks":
        world.timeline.after(at, world.command, number, after)
        return
    for task in range(8):
        world.timeline.after(at, world.command, number, "cancel", f"t{task}")


def _host(world: World):
    return world.chance.choice(list(world.hosts.values()))


def _engine(world: World):
    return world.chance.choice(list(world.engines.values()))


def _kill(world: World) -> None:
    down_s = world.chance.uniform(0.1, 6.0)
    world.kill_host(_host(world), down_s, is_known=world.chance.random() < 0.5)


def _trap(world: World) -> None:
    chance = world.chance
    what = chance.choice(("kill", "kill", "freeze", "freeze", "database"))
    seconds = chance.choice((0.1, 1.0, 4.0, 9.0, 20.0))
    world.set_trap(_host(world), chance.choice((1, 2, 3, 5, 9, 20, 50)), what, seconds)


def _freeze(world: World) -> None:
    world.freeze_host(_host(world), world.chance.choice((0.5, 3.0, 12.0, 25.0)))


def _resign(world: World) -> None:
    world.resign_host(_host(world), world.chance.uniform(0.1, 3.0))


def _database(world: World) -> None:
    world.take_database_away(world.chance.choice((0.2, 1.0, 6.0, 15.0)))


def _commits(world: World) -> None:
    world.lose_commit_answers(world.chance.choice((0.1, 0.5)), world.chance.uniform(1.0, 10.0))


def _network(world: World) -> None:
    chance = world.chance
    rates = Rates(
        lost=chance.choice((0.0, 0.1, 0.3)),
        answer_lost=chance.choice((0.0, 0.1, 0.3)),
        repeated=chance.choice((0.0, 0.1, 0.4)),
        slow=chance.choice((0.0, 0.1, 0.3)),
    )
    world.disturb_network(rates, chance.uniform(1.0, 15.0))


def _cut(world: World) -> None:
    world.cut_engine(_engine(world), world.chance.choice((0.5, 4.0, 14.0, 30.0)))


def _main(world: World) -> None:
    world.restart_main(_engine(world), world.chance.choice((0.05, 1.0, 5.0, 14.0)))


def _monitor(world: World) -> None:
    world.restart_monitor(_engine(world))


def _execution(world: World) -> None:
    world.restart_execution(_engine(world))


def _submits(world: World) -> None:
    world.lose_submits(world.chance.uniform(1.0, 8.0))


def _crash(world: World) -> None:
    chance = world.chance
    world.crash_engine(
        _engine(world),
        chance.choice((0.2, 3.0, 12.0)),
        keeps_ends=chance.random() < 0.5,
        names_losses=chance.random() < 0.4,
    )


def _leave(world: World) -> None:
    chance = world.chance
    world.leave_engine(_engine(world), chance.choice((0.0, 0.5, 3.0)), chance.choice((0.3, 4.0)))


def _worker(world: World) -> None:
    world.kill_worker(_engine(world))


def _deregister(world: World) -> None:
    world.deregister(_engine(world))


def _slots(world: World) -> None:
    world.change_slots(_engine(world), world.chance.randint(1, 4))


def _clock(world: World) -> None:
    machines = [*world.hosts.values(), *world.engines.values()]
    seconds = world.chance.choice((-3600.0, -30.0, 3.0, 3600.0))
    world.jump_clock(world.chance.choice(machines).clock, seconds)
    if world.chance.random() < 0.5:  # what one clock has planned, another reads
        _kill(world)


def _forge(world: World) -> None:
    world.forge_report()


def _old_reports(world: World) -> None:
    world.repeat_old_reports()
    world.timeline.after(world.chance.uniform(0.1, 6.0), world.repeat_old_reports)
    world.timeline.after(world.chance.uniform(0.1, 3.0), world.repeat_old_registration)


def _large(world: World) -> None:
    world.refuse_large(_engine(world), f"t{world.chance.randrange(7)}")


_CHOICES: dict[Callable[[World], None], int] = {
    _kill: 4,
    _trap: 12,
    _freeze: 3,
    _resign: 2,
    _database: 3,
    _commits: 3,
    _network: 6,
    _cut: 3,
    _main: 3,
    _monitor: 2,
    _execution: 2,
    _submits: 1,
    _crash: 3,
    _worker: 2,
    _leave: 3,
    _deregister: 1,
    _slots: 1,
    _clock: 2,
    _forge: 3,
    _large: 1,
    _old_reports: 5,
}
_FAULTS = list(_CHOICES)
_WEIGHTS = list(_CHOICES.values())
