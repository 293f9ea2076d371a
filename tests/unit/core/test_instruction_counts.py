"""What the pure core costs for each operator, in instructions of Python: no clock is asked.

A change that makes a piece dearer has to write the new number down here, and so be seen. Numbers
hold for one version of Python, whose compiler decides how many instructions a line has.
"""

from __future__ import annotations

import datetime as dt
import gc
import json
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from dag_engine.core import machine
from dag_engine.core.dagfile import JSON, YAML, DagDocument, check_dag, read_dag
from dag_engine.core.live import Decision, LiveRun, attempt_id_of
from dag_engine.core.plan import RunDefaults
from dag_engine.core.planning import Selection, complete_plan, draft_plan
from dag_engine.storage.batch_rows import make_steps
from tests.support.dag_generator import chain_dag
from tests.support.example_catalogue import make_catalogue
from tests.support.live_runs import NOON, ended, make_run
from tests.support.work_meter import count_instructions

FEW, MANY = 100, 400
SPARE = 1.02
"""So much may a number be passed before it has to be written anew."""
PER_OPERATOR = {
    "read a JSON file": 1046,
    "read a YAML file": 2934,
    "check it against the catalogue": 379,
    "plan a run": 1331,
    "end an attempt and hand the next one out": 1432,
    "make rows of what changed": 1304,
}

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the numbers are those of Python 3.11"
)


@pytest.fixture(autouse=True)
def _without_garbage_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


class _Walk:
    """A run of a chain, every hop of which is a decision of its own."""

    def __init__(self, length: int) -> None:
        edges = [(f"o{i}", f"o{i + 1}") for i in range(length - 1)]
        self.run: LiveRun = make_run(edges)
        self.decisions = [Decision(now=NOON)]
        machine.start_run(self.run, self.decisions[0])
        machine.hand_out(self.run, self.run.tasks[0], "engine", self.decisions[0])

    def hop(self, index: int) -> None:
        out = Decision(now=NOON + dt.timedelta(seconds=index))
        outcome = ended(attempt_id_of(self.run.run_id, index, 1))
        machine.attempt_ended(self.run, index, outcome, out)
        for run, task in out.ready:
            machine.hand_out(run, task, "engine", out)
        self.decisions.append(out)

    def hop_all(self) -> None:
        for index in range(len(self.run.tasks)):
            self.hop(index)

    def make_all_steps(self) -> None:
        for out in self.decisions:
            make_steps(out.batch, {}, NOON)


def _plan(document: DagDocument, catalogue: Any) -> None:
    draft = draft_plan(
        document,
        catalogue,
        defaults=RunDefaults(),
        datasets={},
        seeds=random.Random(1),
        selection=Selection("all", (), ()),
    )
    complete_plan(draft, {})


def _measure(length: int) -> dict[str, float]:
    text = chain_dag(length)
    as_json = json.dumps(yaml.safe_load(text)).encode()
    document, catalogue = read_dag(text.encode(), YAML), make_catalogue()
    walk = _Walk(length)
    work: dict[str, Callable[[], object]] = {
        "read a JSON file": lambda: read_dag(as_json, JSON),
        "read a YAML file": lambda: read_dag(text.encode(), YAML),
        "check it against the catalogue": lambda: check_dag(document, catalogue),
        "plan a run": lambda: _plan(document, catalogue),
        "end an attempt and hand the next one out": walk.hop_all,
        "make rows of what changed": walk.make_all_steps,
    }
    return {name: count_instructions(piece) / length for name, piece in work.items()}


def test_no_piece_of_the_core_has_become_dearer_unseen() -> None:
    measured = _measure(FEW)
    assert {name: round(n) for name, n in measured.items() if n > SPARE * PER_OPERATOR[name]} == {}


def test_numbers_are_lowered_where_a_piece_has_become_cheaper() -> None:
    measured = _measure(FEW)
    assert {name: round(n) for name, n in measured.items() if n < 0.9 * PER_OPERATOR[name]} == {}


def test_an_operator_costs_the_same_in_a_larger_graph() -> None:
    few, many = _measure(FEW), _measure(MANY)
    assert {name: (few[name], n) for name, n in many.items() if n > 1.1 * few[name]} == {}
