import datetime as dt

import pytest

from dag_engine.core.paces import PLACE, Paces


def _after(*seconds: float) -> int:
    paces = Paces()
    for took_s in seconds:
        paces.note("local", "noop", dt.timedelta(seconds=took_s))
    return paces.weigh("local", "noop")


@pytest.mark.parametrize(
    ("took_s", "weight"),
    [(0.0, 1), (0.0012, 1), (0.0013, 2), (0.005, 5), (0.0099, PLACE), (0.01, PLACE), (60, PLACE)],
)
def test_the_longer_it_takes_the_more_of_a_place_it_has(took_s: float, weight: int) -> None:
    assert _after(took_s) == weight


def test_what_is_not_known_takes_a_whole_place() -> None:
    paces = Paces()
    paces.note("local", "noop", dt.timedelta())
    assert paces.weigh("local", "noop") == 1
    assert paces.weigh("local", "other") == PLACE
    assert paces.weigh("ray", "noop") == PLACE


def test_a_long_attempt_is_forgotten_by_and_by() -> None:
    assert _after(1.0, *[0.0] * 20) == PLACE
    assert _after(1.0, *[0.0] * 40) == 1
    assert _after(*[0.0] * 40, 1.0) == PLACE


def test_a_clock_that_was_set_back_makes_nothing_weightless() -> None:
    assert _after(-5.0) == 1
