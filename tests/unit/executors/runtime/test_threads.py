"""How many threads the numeric libraries may take, as the environment tells it."""

import os

import pytest

from executors.runtime.threads import THREAD_VARIABLES, announce_threads


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "8")


@pytest.mark.parametrize("changed", [THREAD_VARIABLES[0], THREAD_VARIABLES[-1]])
def test_what_a_task_made_of_one_number_is_put_right_for_the_next(changed: str) -> None:
    announce_threads(2)
    os.environ[changed] = "16"
    announce_threads(2)
    assert {os.environ[name] for name in THREAD_VARIABLES} == {"2"}
    del os.environ[changed]
    announce_threads(2)
    assert os.environ[changed] == "2"


def test_part_of_a_core_is_one_thread() -> None:
    announce_threads(0.5)
    assert os.environ["OMP_NUM_THREADS"] == "1"
    announce_threads(1.5)
    assert os.environ["OMP_NUM_THREADS"] == "2"
