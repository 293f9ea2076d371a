"""The garbage collector does not look at everything again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from dag_engine.garbage import spare_passes
from tests.support.busy_reign import TASKS_A_RUN, BusyReign


@pytest.fixture
def _spared() -> Iterator[None]:
    former = gc.get_threshold()
    spare_passes()
    yield
    gc.set_threshold(*former)
    gc.unfreeze()


def count_full_passes() -> int:
    return int(gc.get_stats()[2]["collections"])


@pytest.mark.usefixtures("_spared")
def test_taking_up_many_runs_takes_no_full_pass_of_the_collector() -> None:
    before = count_full_passes()
    busy = BusyReign(50_000 // TASKS_A_RUN)
    assert count_full_passes() == before
    assert busy.reign.status()["live_runs"] == 50_000 // TASKS_A_RUN
    assert gc.get_freeze_count() > 0


@pytest.mark.usefixtures("_spared")
def test_rings_are_still_found() -> None:
    before = sum(generation["collected"] for generation in gc.get_stats())
    for _ in range(200_000):
        ring: list[object] = []
        ring.append(ring)
    assert sum(generation["collected"] for generation in gc.get_stats()) > before
