"""Several tasks that the local pool is given in one call."""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from executors.base import ExecutorSettings, Task
from executors.contract_tools import Ledger, Listener, submit, wait_until
from executors.errors import ExecutorError, ExecutorUnavailableError
from executors.local.client import LocalExecutor
from tests.support.pool_process import FAULT_OPERATORS, PoolProcess, run_pool

_indexes = itertools.count(1)


def make_task(**fields: object) -> Task:
    index = next(_indexes)
    return Task(
        attempt_id=f"rtogether.{index}.1",
        run_id="rtogether",
        operator="ok",
        index=index,
        attempt=1,
        algorithm="ok",
        entry=f"{FAULT_OPERATORS}:ok",
        n_outputs=1,
        folder="file:///nowhere",
        **fields,
    )


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[PoolProcess]:
    settings = ExecutorSettings(
        home=str(tmp_path), logs=str(tmp_path / "logs"), store_url=f"file://{tmp_path}/store"
    )
    with run_pool(settings, {"workers": 2}) as pool:
        yield pool


@pytest.fixture
def listener(pool: PoolProcess) -> Iterator[Listener]:
    with contextlib.closing(pool.make_client()) as client:
        yield Listener(client)


def test_tasks_are_taken_but_for_those_that_are_none(listener: Listener, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    params = {"ledger": str(ledger.path)}
    tasks = [make_task(params=params | {"value": number}) for number in range(4)]
    tasks[1] = msgspec.structs.replace(tasks[1], attempt_id="../../evil.1.1")

    told = listener.executor.submit_some(tasks)

    assert isinstance(told[1], ExecutorError)
    assert "is not <run id>" in str(told[1])
    handles = [told[place] for place in (0, 2, 3)]
    assert handles == [tasks[place].attempt_id for place in (0, 2, 3)]
    ends = [listener.end_of(handle) for handle in handles]
    assert [end.outputs[0].inline["value"] for end in ends] == [0, 2, 3]
    assert listener.executor.submit_some(tasks[2:]) == handles[1:]
    listener.end_of(submit(listener.executor, make_task()))
    assert len(ledger.entries()) == 3  # what comes twice is started once


def test_long_tasks_go_in_several_commands(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    submit_together = LocalExecutor._submit_together

    def watch(executor: LocalExecutor, tasks: list[tuple[str, bytes]]) -> list[str | Exception]:
        sizes.append(len(tasks))
        return submit_together(executor, tasks)

    monkeypatch.setattr(LocalExecutor, "_submit_together", watch)
    tasks = [make_task(sealed="x" * 400_000) for _ in range(5)]

    told = listener.executor.submit_some(tasks)

    assert sizes == [2, 2, 1]
    assert told == [task.attempt_id for task in tasks]
    assert {listener.end_of(handle).state for handle in told} == {"succeeded"}


def test_derived_executor_sees_each_task_that_is_submitted_with_others(pool: PoolProcess) -> None:
    seen: list[str] = []

    class Watching(LocalExecutor):
        def submit(self, task: Task) -> str:
            seen.append(task.attempt_id)
            return super().submit(task)

    tasks = [make_task(), make_task()]
    with contextlib.closing(Watching(pool.name, pool.options, pool.settings)) as executor:
        told = executor.submit_some(tasks)

    assert told == seen == [task.attempt_id for task in tasks]


def test_pool_that_is_away_is_told_of_the_first_task_alone(
    pool: PoolProcess, listener: Listener
) -> None:
    pool.stop(signal.SIGKILL)

    told = listener.executor.submit_some([make_task(), make_task()])

    assert [type(one) for one in told] == [ExecutorUnavailableError]
    wait_until(lambda: not pool.remains(), "the death of the workers with their supervisor")
