import itertools
import zlib
from collections.abc import Callable

import pytest

from dag_engine.api.errors import TooManyRequestsError
from dag_engine.api.flood import FloodGate, OpenRuns, StartRate
from dag_engine.storage.errors import DatabaseUnavailableError


def crc32(name: str) -> int:
    return zlib.crc32(name.encode())


def take(rate: StartRate, n_starts: int, now_s: float, namespace: str = "a") -> int:
    return sum(rate.take(namespace, now_s) == 0 for _ in range(n_starts))


def test_a_namespace_may_save_up_the_starts_of_ten_seconds() -> None:
    rate = StartRate(per_s=5)

    assert take(rate, 1000, now_s=100.0) == 50
    assert take(rate, 1000, now_s=101.0) == 5
    assert take(rate, 1000, now_s=1000.0) == 50


def test_the_wait_that_is_told_is_long_enough() -> None:
    rate = StartRate(per_s=5)
    take(rate, 50, now_s=100.0)

    wait_s = rate.take("a", 100.0)

    assert wait_s == pytest.approx(0.2)
    assert rate.take("a", 100.0 + wait_s + 1e-9) == 0


def test_one_namespace_does_not_pay_for_another() -> None:
    rate = StartRate(per_s=1)
    take(rate, 100, now_s=1.0)

    assert take(rate, 100, now_s=1.0, namespace="b") == 10


def test_a_rate_below_one_lets_one_start_through() -> None:
    rate = StartRate(per_s=0.01)

    assert take(rate, 5, now_s=1.0) == 1
    assert take(rate, 5, now_s=102.0) == 1


def counter(numbers: list[int]) -> tuple[list[str], Callable[[str], int]]:
    asked: list[str] = []

    def count(namespace: str) -> int:
        asked.append(namespace)
        return numbers.pop(0)

    return asked, count


def test_open_runs_are_counted_once_a_second() -> None:
    asked, count = counter([7, 3])
    runs = OpenRuns(count)

    first = [runs.number("a", 10.0), runs.number("a", 10.9)]
    runs.add("a")
    then = [runs.number("a", 10.95), runs.number("a", 11.5)]

    assert (first, then, asked) == ([7, 7], [8, 3], ["a", "a"])


def test_the_gate_says_when_to_come_again() -> None:
    gate = FloodGate(0, 2, lambda _: 2)

    with pytest.raises(TooManyRequestsError) as caught:
        gate.check("a")

    assert (caught.value.status, caught.value.code) == (429, "too_many_open_runs")
    assert caught.value.headers == {"Retry-After": "5"}


def test_no_limit_asks_nothing() -> None:
    asked, count = counter([])
    gate = FloodGate(0, 0, count)

    for _ in range(10_000):
        gate.check("a")

    assert asked == []


def test_a_count_that_fails_is_repeated_at_the_next_question() -> None:
    _, count = counter([7, 3])
    is_away = False

    def count_if_there(namespace: str) -> int:
        if is_away:
            raise DatabaseUnavailableError("away")
        return count(namespace)

    runs = OpenRuns(count_if_there)
    assert runs.number("a", 10.0) == 7
    is_away = True
    with pytest.raises(DatabaseUnavailableError):
        runs.number("a", 11.5)
    is_away = False

    assert runs.number("a", 11.6) == 3


def test_nobody_is_told_a_number_before_the_first_count() -> None:
    told_meanwhile: list[int] = []
    asked: list[str] = []

    def count(namespace: str) -> int:
        asked.append(namespace)
        if len(asked) == 1:
            runs.add(namespace)
            told_meanwhile.append(runs.number(namespace, 10.0))
        return 7

    runs = OpenRuns(count)

    assert runs.number("a", 10.0) == 7
    assert told_meanwhile == [7]


def test_namespaces_hardly_ever_share_a_cell() -> None:
    rate = StartRate(per_s=1)
    alike = (f"n{number}" for number in itertools.count())
    other = next(name for name in alike if (crc32(name) - crc32("a")) % 2**16 == 4096)
    take(rate, 100, now_s=1.0)

    assert take(rate, 100, now_s=1.0, namespace=other) == 10
