"""Limits that a pool keeps without cgroups, with a real supervisor."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executors.base import ExecutorSettings, Outcome, Task
from executors.contract_tools import Listener, submit
from tests.support.pool_process import FAULT_OPERATORS, run_pool

_indexes = itertools.count(1)
Run = Callable[..., Outcome]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start a pool of one worker; gives a function that runs an operator in it to its end."""
    settings = ExecutorSettings(
        home=str(tmp_path), logs=str(tmp_path / "logs"), store_url=f"file://{tmp_path}/store"
    )
    with contextlib.ExitStack() as stack:

        def make(**options: object) -> Run:
            pool = stack.enter_context(run_pool(settings, {"workers": 1, **options}))
            listener = Listener(stack.enter_context(contextlib.closing(pool.make_client())))

            def run(operator: str, **params: object) -> Outcome:
                return listener.end_of(submit(listener.executor, make_task(operator, params)))

            return run

        yield make


def make_task(operator: str, params: dict[str, object]) -> Task:
    index = next(_indexes)
    return Task(
        attempt_id=f"rlimit.{index}.1",
        run_id="rlimit",
        operator=operator,
        index=index,
        attempt=1,
        algorithm=operator,
        entry=f"{FAULT_OPERATORS}:{operator}",
        params=params,
        n_outputs=1,
        folder="file:///nowhere",
    )


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
