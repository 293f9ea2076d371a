"""What a turn of the scheduler costs does not depend on how much is in flight.

Work is counted in instructions of Python, and by the memory that it needs meanwhile, in which a
copy of something large would show. No clock is asked.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.support.busy_reign import TASKS_A_RUN, BusyReign
from tests.support.work_meter import count_instructions, measure_peak

FEW, MORE, MANY = 1_000, 10_000, 100_000
LIMIT = 1.2
SPARE_BYTES = 4_096
"""Tables of dictionaries and lists grow now and then, whatever is done."""

TURNS: dict[str, Callable[[BusyReign], object]] = {
    "an attempt ends": lambda busy: busy.end_one(),
    "nothing came": lambda busy: (busy.pass_time(1.0), busy.turn()),
    "a run is accepted": lambda busy: busy.accept(("s1", "queue_0")),
    "a run is paused": lambda busy: busy.command("r000007", "pause"),
    "a run goes on": lambda busy: busy.command("r000007", "resume"),
    "a run is cancelled": lambda busy: busy.command("r000007", "cancel"),
    "somebody asks how it is": lambda busy: busy.reign.status(),
    "the loop waits": lambda busy: busy.reign.wait_s(),
}


@pytest.fixture(autouse=True)
def _without_garbage_collector() -> Iterator[None]:
    """A collection in the midst would be counted, and looks at everything again and again."""
    gc.disable()
    yield
    gc.enable()


def measure(busy: BusyReign) -> dict[str, tuple[int, int]]:
    """Measure every kind of turn: instructions of the first, memory of the next."""
    found = {}
    for name, turn in TURNS.items():
        n_instructions = count_instructions(partial(turn, busy))
        found[name] = n_instructions, measure_peak(partial(turn, busy))
    return found


def test_a_turn_costs_the_same_however_many_tasks_are_in_flight() -> None:
    few, *others = [measure(BusyReign(n // TASKS_A_RUN)) for n in (FEW, MORE, MANY)]
    for found in others:
        for name, (n_instructions, peak_bytes) in found.items():
            assert n_instructions <= LIMIT * few[name][0], name
            assert peak_bytes <= LIMIT * few[name][1] + SPARE_BYTES, name


def test_a_turn_costs_the_same_however_large_a_run_is() -> None:
    small, large = [BusyReign(1, tasks_a_run=n) for n in (100, 10_000)]
    for name in ("an attempt ends", "nothing came"):
        turns = [partial(TURNS[name], busy) for busy in (small, large)]
        few, many = [count_instructions(turn) for turn in turns]
        assert many <= LIMIT * few, name
        few, many = [measure_peak(turn) for turn in turns]
        assert many <= LIMIT * few + SPARE_BYTES, name


def test_the_end_of_an_attempt_costs_the_same_however_many_engines_are_full() -> None:
    few, many = [
        count_instructions(BusyReign(10 * n_engines, n_engines=n_engines, slots=1).end_one)
        for n_engines in (2, 100)
    ]
    assert many <= LIMIT * few
