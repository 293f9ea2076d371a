"""The real scheduler under virtual time: whatever is lost, repeated or killed, every promise holds.

Each seed is a history of its own. `make test` plays 2,000 of them, `make faults` 100,000; what a
broken one prints repeats it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import chain

import pytest

from dag_engine.core.states import FINAL_RUN_STATES, RUN_MOVES, TASK_MOVES
from dag_engine.scheduler import reign
from tests.support.length import IS_LONG
from tests.support.services import ROOT
from tests.support.simulation import run_histories
from tests.support.simulation.history import digest, make_world, play, prepared
from tests.support.simulation.mutants import HANDS_OUT_TOO_EARLY, MUTANTS, Mutant

N_HISTORIES = 100_000 if IS_LONG else 2_000
N_SHARDS = 100 if IS_LONG else 8
FIRST_SEED = int(os.environ.get("DAGENGINE_TEST_SEED", "0"))
"""Other seeds than the usual ones can be asked for."""
N_FOR_MUTANTS = 2_000
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("shard", range(N_SHARDS))
def test_every_promise_is_kept(shard: int) -> None:
    n_here = N_HISTORIES // N_SHARDS
    first = FIRST_SEED + shard * n_here
    report = run_histories(range(first, first + n_here))
    assert not report.broken, str(report.broken[0])
    assert report.n_histories == n_here


def test_histories_reach_every_state_by_every_move() -> None:
    """Seen over all moves of the two tables, and at every point where a process may be killed."""
    report = run_histories(range(800))
    task_moves = {(str(old), str(new)) for (old, _), new in TASK_MOVES.items()}
    run_moves = {(str(old), str(new)) for (old, _), new in RUN_MOVES.items()}
    assert task_moves - report.task_moves.keys() == set()
    # A run is always started before its commands are carried out, and what is left of a paused one
    # ends by a cancel at best.
    unreachable = {("pending", "cancelling"), ("paused", "succeeded")}
    assert run_moves - report.run_moves.keys() == unreachable
    assert report.run_states.keys() == FINAL_RUN_STATES
    assert report.n_hits > 0, "former results stood in"
    assert report.n_waits > 0, "a task waited for an equal one"
    assert report.points.keys() == {
        "answer",
        "load engines",
        "load runs",
        "read",
        "seat",
        "seat written",
        "send",
        "write",
        "written",
    }


def test_the_same_seed_is_the_same_history() -> None:
    with prepared():
        for seed in range(10):
            worlds = make_world(seed), make_world(seed)
            assert [play(world) for world in worlds] == [None, None]
            assert digest(worlds[0]) == digest(worlds[1])


def test_a_history_does_not_hang_on_the_order_of_sets() -> None:
    code = (
        "from tests.support.simulation.history import *\n"
        "with prepared():\n"
        "    for seed in range(30):\n"
        "        world = make_world(seed); play(world); print(digest(world))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 30


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_guard_that_is_taken_out_is_missed(mutant: Mutant) -> None:
    """The seed that showed it last comes first; any of the usual ones will do."""
    with mutant.applied():
        report = run_histories(chain([mutant.seed], range(N_FOR_MUTANTS)))
    assert report.broken, f"{N_FOR_MUTANTS} histories do not notice that {mutant.name}"


def test_a_successor_may_load_in_pieces_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Histories are too small for a second piece, unless each run is one."""
    monkeypatch.setattr(reign, "LOAD_CHUNK", 1)
    guard = HANDS_OUT_TOO_EARLY
    report = run_histories(chain([guard.seed], range(200)))
    assert not report.broken, str(report.broken[0])
    with guard.applied():
        report = run_histories(chain([guard.seed], range(N_FOR_MUTANTS)))
    assert report.broken, f"{N_FOR_MUTANTS} histories do not notice that {guard.name}"


def test_a_broken_history_tells_how_to_repeat_it() -> None:
    with MUTANTS[0].applied():
        report = run_histories(chain([MUTANTS[0].seed], range(N_FOR_MUTANTS)))
    [broken] = report.broken
    text = str(broken)
    assert f"python -m tests.support.simulation {broken.seed}" in text
    assert broken.error in text
    assert len(broken.trace) > 3
