"""Limits that a pool keeps without cgroups, with a real supervisor."""

from collections.abc import Callable

import pytest

from executors.base import Outcome
from executors.contract_tools import submit
from tests.support.pool_process import Listen, Pools, make_task

Run = Callable[..., Outcome]


@pytest.fixture
def start(start_pool: Pools, listen: Listen) -> Callable[..., Run]:
    """Start a pool of one worker; gives a function that runs an operator in it to its end."""

    def make(**options: object) -> Run:
        listener = listen(start_pool(workers=1, **options))

        def run(operator: str, **params: object) -> Outcome:
            return listener.end_of(submit(listener.executor, make_task(operator, params=params)))

        return run

    return make


def test_worker_that_is_left_with_open_files_is_replaced(start: Callable[..., Run]) -> None:
    run = start(max_open_files=128)
    ends = [run("leaves_files_open", n=n) for n in (10, 100, 1000, 10)]
    assert [end.state for end in ends] == ["succeeded", "succeeded", "failed", "succeeded"]
    assert "Too many open files" in ends[2].message
    workers = [end.worker for end in ends]
    assert workers[0] == workers[1]
    assert len(set(workers[1:])) == 3


def test_crowd_is_counted_where_no_cgroup_does(start: Callable[..., Run]) -> None:
    run = start(cgroups="off", max_processes=20)
    end = run("leaves_threads", n=30, seconds=600)
    assert (end.state, end.reason) == ("failed", "too_many_processes")
    assert run("ok").state == "succeeded"
