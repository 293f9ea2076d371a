"""Figures that have to be counted hold nobody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from dag_engine.api.aged import AgedFigure
from dag_engine.storage.errors import DatabaseUnavailableError
from tests.support.waiting import wait_until


class Counting:
    """Counts itself; each count takes some seconds of a clock that stands still otherwise."""

    def __init__(self, took_s: float) -> None:
        self.now = 0.0
        self.took_s = took_s
        self.n_counts = 0
        self.may_end = threading.Event()
        self.may_end.set()
        self.error: Exception | None = None
        self.figure = AgedFigure(self.count, clock=lambda: self.now, patience_s=5.0)

    def count(self) -> int:
        assert self.may_end.wait(10)
        if self.error is not None:
            raise self.error
        self.now += self.took_s
        self.n_counts += 1
        return self.n_counts


@pytest.fixture
def counting() -> Iterator[Counting]:
    made = Counting(took_s=0.1)
    yield made
    made.may_end.set()
    for thread in threading.enumerate():
        if thread.name == "figures":
            thread.join(10)


def test_a_figure_is_good_for_a_hundred_times_its_count(counting: Counting) -> None:
    assert counting.figure.get() == 1
    counting.now += 9.9
    assert counting.figure.get() == 1
    counting.now += 0.2
    assert counting.figure.get() == 2


def test_a_count_that_takes_long_holds_nobody_up(counting: Counting) -> None:
    counting.figure = AgedFigure(counting.count, clock=lambda: counting.now, patience_s=0.0)
    assert counting.figure.get() == 1
    counting.now += 20
    counting.may_end.clear()
    assert [counting.figure.get() for _ in range(3)] == [1, 1, 1]
    assert sum(thread.name == "figures" for thread in threading.enumerate()) == 1
    counting.may_end.set()
    for thread in threading.enumerate():
        if thread.name == "figures":
            thread.join(10)
    assert counting.figure.get() == 2


def test_a_figure_that_nobody_asked_for_in_a_while_is_counted_before_it_is_told(
    counting: Counting,
) -> None:
    counting.figure = AgedFigure(counting.count, clock=lambda: counting.now, patience_s=0.0)
    assert counting.figure.get() == 1
    counting.now += 121
    assert counting.figure.get() == 2


def test_an_old_figure_is_told_while_the_database_is_away(counting: Counting) -> None:
    assert counting.figure.get() == 1
    counting.error = DatabaseUnavailableError("away")
    counting.now += 20
    assert counting.figure.get() == 1
    counting.now += 121
    with pytest.raises(DatabaseUnavailableError):
        counting.figure.get()


def test_nobody_waits_for_a_count_that_another_began(counting: Counting) -> None:
    assert counting.figure.get() == 1
    counting.now += 20
    counting.may_end.clear()
    told: list[int] = []
    first = threading.Thread(target=lambda: told.append(counting.figure.get()))
    first.start()
    wait_until(counting.figure._is_counting.locked)
    began = time.monotonic()

    assert counting.figure.get() == 1

    assert time.monotonic() - began < 2.0, "its patience is 5 s"
    counting.may_end.set()
    first.join(10)
    assert told == [2]
