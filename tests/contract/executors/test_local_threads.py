"""The numeric libraries of a task keep to the cores that it asked for, whoever loaded them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from executors.base import ExecutorSettings, Resources, Task
from executors.contract_tools import wait_until
from tests.support.pool_process import run_pool
from tests.support.thread_algorithms import LIBRARIES

MODULE = "tests.support.thread_algorithms"
PRELOADED = [*LIBRARIES, "executors.runtime.attempt", MODULE]


@pytest.mark.parametrize("preload", [[], PRELOADED], ids=["loaded by the task", "preloaded"])
def test_threads_keep_to_a_tasks_share_of_the_cores(
    tmp_path: Path, settings: ExecutorSettings, preload: list[str]
) -> None:
    with run_pool(settings, {"workers": 1, "preload": preload}) as pool:
        executor = pool.make_client()
        try:
            if preload:
                wait_until(lambda: is_preloaded(executor), "a preloaded worker", 30.0)
            for index, cpu in enumerate((1.0, 2.0, 0.5)):
                n_threads = max(1, int(cpu))
                threads = ask(executor, tmp_path, index, cpu)
                assert set(threads.pop("pools")) == {n_threads}, cpu
                assert set(threads.pop("child_process")) == {min(n_threads, os.cpu_count() or 1)}
                assert threads.pop("sklearn_in_a_thread") <= n_threads
                assert threads.pop("sklearn") == n_threads
                assert threads.pop("pyarrow") == n_threads
                assert threads.pop("joblib") == min(n_threads, os.cpu_count() or 1)
                assert threads == {}
        finally:
            executor.close()


def is_preloaded(executor: Any) -> bool:
    return all(worker["is_preloaded"] for worker in executor.status()["workers"])


def ask(executor: Any, folder: Path, index: int, cpu: float) -> dict[str, Any]:
    """Carry the algorithm out with so many cores; return what it says."""
    task = Task(
        attempt_id=f"rthreads.{index}.1",
        run_id="rthreads",
        operator=f"op{index}",
        index=index,
        attempt=1,
        algorithm="ask_threads",
        entry=f"{MODULE}:ask_threads",
        resources=Resources(cpu=cpu),
        folder=f"file://{folder}/store/{index}",
    )
    executor.submit(task)
    ends: list[Any] = []

    def look() -> bool:
        ends.extend(told for told in executor.poll(0.1) if told.kind == "ended")
        return bool(ends)

    wait_until(look, "the task's end", 30.0)
    assert ends[0].state == "succeeded", (ends[0].message, ends[0].traceback)
    told: dict[str, Any] = ends[0].outputs[0].inline
    return told
