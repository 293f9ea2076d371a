"""Hypothesis looks for the shortest row of faults and wishes that breaks a promise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.length import IS_LONG
from tests.support.simulation.history import prepared
from tests.support.simulation.network import Rates
from tests.support.simulation.promises import PromiseBrokenError
from tests.support.simulation.world import Size, World

NUMBERS = st.integers(0, 3)
SHORT_S = st.sampled_from([0.01, 0.3, 1.0, 4.0])
LONG_S = st.sampled_from([0.2, 2.0, 8.0, 20.0])
RATES = st.sampled_from([0.0, 0.2, 0.5])
WORDS = st.sampled_from(["all", "failed", "from", "to", "only", "children"])
WHAT = st.sampled_from(["kill", "freeze", "database"])


class Steps(RuleBasedStateMachine):
    """One world; each step is a wish or a fault, and at the end everything has to settle."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(prepared())
        self.world: World

    def do(self, work: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        try:
            work(*arguments, **named)
        except PromiseBrokenError as broken:
            raise AssertionError("\n".join([*self.world.trace, str(broken)])) from None

    @initialize(
        seed=st.integers(0, 10_000),
        n_hosts=st.integers(1, 2),
        n_engines=st.integers(1, 2),
        n_operators=st.integers(1, 8),
        trouble=st.sampled_from([0.0, 0.2]),
    )
    def make(
        self, seed: int, n_hosts: int, n_engines: int, n_operators: int, trouble: float
    ) -> None:
        self.world = World(seed, Size(n_hosts, n_engines, trouble=trouble))
        self.world.add_document(n_operators)
        self.do(self.world.advance, 0.2)
        self.do(self.world.post_run, 0)

    def host(self, number: int) -> Any:
        return self.world.hosts[f"s{number % len(self.world.hosts)}"]

    def engine(self, number: int) -> Any:
        return self.world.engines[f"e{number % len(self.world.engines)}"]

    @rule(seconds=st.sampled_from([0.005, 0.05, 0.3, 1.0, 3.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.do(self.world.advance, seconds)

    @rule(priority=st.sampled_from([-5, 0, 10]))
    def post(self, priority: int) -> None:
        self.do(self.world.post_run, 0, priority=priority)

    @rule(number=NUMBERS, word=WORDS)
    def follow_up(self, number: int, word: str) -> None:
        self.do(self.world.follow_up, number, word)

    @rule(number=NUMBERS, kind=st.sampled_from(["cancel", "pause", "resume"]))
    def command(self, number: int, kind: str) -> None:
        self.do(self.world.command, number, kind)

    @rule(number=NUMBERS, operator=st.integers(0, 7))
    def cancel_task(self, number: int, operator: int) -> None:
        self.do(self.world.command, number, "cancel", f"t{operator}")

    @rule(number=NUMBERS, seconds=SHORT_S, is_known=st.booleans())
    def kill(self, number: int, seconds: float, is_known: bool) -> None:
        self.do(self.world.kill_host, self.host(number), seconds, is_known=is_known)

    @rule(number=NUMBERS, n_points=st.integers(1, 40), what=WHAT, seconds=LONG_S)
    def trap(self, number: int, n_points: int, what: str, seconds: float) -> None:
        self.do(self.world.set_trap, self.host(number), n_points, what, seconds)

    @rule(number=NUMBERS, seconds=LONG_S)
    def freeze(self, number: int, seconds: float) -> None:
        self.do(self.world.freeze_host, self.host(number), seconds)

    @rule(number=NUMBERS, seconds=SHORT_S)
    def resign(self, number: int, seconds: float) -> None:
        self.do(self.world.resign_host, self.host(number), seconds)

    @rule(seconds=LONG_S)
    def lose_database(self, seconds: float) -> None:
        self.do(self.world.take_database_away, seconds)

    @rule(rate=RATES, seconds=SHORT_S)
    def lose_commit_answers(self, rate: float, seconds: float) -> None:
        self.do(self.world.lose_commit_answers, rate, seconds)

    @rule(lost=RATES, answer_lost=RATES, repeated=RATES, slow=RATES, seconds=LONG_S)
    def disturb_network(
        self, lost: float, answer_lost: float, repeated: float, slow: float, seconds: float
    ) -> None:
        rates = Rates(lost, answer_lost, repeated, slow)
        self.do(self.world.disturb_network, rates, seconds)

    @rule(number=NUMBERS, seconds=LONG_S)
    def cut_engine(self, number: int, seconds: float) -> None:
        self.do(self.world.cut_engine, self.engine(number), seconds)

    @rule(number=NUMBERS, seconds=LONG_S)
    def restart_main(self, number: int, seconds: float) -> None:
        self.do(self.world.restart_main, self.engine(number), seconds)

    @rule(number=NUMBERS, which=st.sampled_from(["monitor", "execution", "worker"]))
    def restart_child(self, number: int, which: str) -> None:
        engine = self.engine(number)
        if which == "monitor":
            self.do(self.world.restart_monitor, engine)
        elif which == "execution":
            self.do(self.world.restart_execution, engine)
        else:
            self.do(self.world.kill_worker, engine)

    @rule(number=NUMBERS, seconds=LONG_S, keeps=st.booleans(), names=st.booleans())
    def crash_engine(self, number: int, seconds: float, keeps: bool, names: bool) -> None:
        engine = self.engine(number)
        self.do(self.world.crash_engine, engine, seconds, keeps_ends=keeps, names_losses=names)

    @rule(number=NUMBERS)
    def deregister(self, number: int) -> None:
        self.do(self.world.deregister, self.engine(number))

    @rule(number=NUMBERS, seconds=st.sampled_from([-3600.0, 5.0, 3600.0]))
    def jump_clock(self, number: int, seconds: float) -> None:
        self.do(self.world.jump_clock, self.host(number).clock, seconds)

    @rule(is_forged=st.booleans())
    def bother(self, is_forged: bool) -> None:
        self.do(self.world.forge_report if is_forged else self.world.repeat_old_reports)

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.do(self.world.settle)
        finally:
            self.stack.close()


TestSteps = Steps.TestCase
TestSteps.settings = settings(
    max_examples=2_000 if IS_LONG else 50, stateful_step_count=30, print_blob=True
)
TestSteps.pytestmark = [pytest.mark.timeout(600)]
