"""Logs of the local pool: when they get their names, and how long they may become."""

import os
import signal
from pathlib import Path

import pytest

from executors.contract_tools import Listener, submit
from tests.support.pool_process import Listen, PoolProcess, Pools, make_task
from tests.support.waiting import wait_until


def read_log(listener: Listener, handle: str) -> str:
    return listener.executor.read_log(handle, 0, 1_000_000).text


def unnamed_logs(pool: PoolProcess) -> list[str]:
    folder = Path(pool.settings.logs) / ".unnamed"
    return os.listdir(folder) if folder.exists() else []


def run_short_tasks(listener: Listener) -> None:
    """The first one of a worker is none: it has much to import."""
    for _ in range(2):
        listener.end_of(submit(listener.executor, make_task("ok")))


def start_warm(start_pool: Pools, listen: Listen) -> tuple[PoolProcess, Listener]:
    """Start a pool whose only worker has an unnamed log."""
    pool = start_pool(workers=1)
    listener = listen(pool)
    run_short_tasks(listener)
    assert len(unnamed_logs(pool)) == 1
    return pool, listener


def test_log_can_be_followed_while_the_task_runs(
    start_pool: Pools, listen: Listen, tmp_path: Path
) -> None:
    pool = start_pool(workers=1)
    listener, gate = listen(pool), tmp_path / "gate"
    params = {"text": "soon\n", "gate": str(gate)}
    handle = submit(listener.executor, make_task("speak_and_wait", params=params))
    wait_until(lambda: read_log(listener, handle) == "soon\n", 10)
    gate.touch()
    listener.end_of(handle)
    assert read_log(listener, handle) == "soon\n"


def test_log_that_is_opened_late_can_be_followed_too(
    start_pool: Pools, listen: Listen, tmp_path: Path
) -> None:
    pool, gate = start_pool(workers=1), tmp_path / "gate"
    listener = listen(pool)
    listener.end_of(submit(listener.executor, make_task("speak")))
    assert unnamed_logs(pool) == [], "the next task's log is not there before it begins"
    (worker,) = [worker["pid"] for worker in listener.executor.status()["workers"]]
    os.kill(worker, signal.SIGSTOP)
    params = {"text": "soon\n", "gate": str(gate)}
    handle = submit(listener.executor, make_task("speak_and_wait", params=params))
    listener.wait_for(handle, "started")  # told after the first look at the log
    os.kill(worker, signal.SIGCONT)
    wait_until(lambda: read_log(listener, handle) == "soon\n")
    gate.touch()
    listener.end_of(handle)


@pytest.mark.parametrize("deed", ["segfault", "exit", "kill"])
def test_last_words_of_a_task_that_kills_its_worker_are_kept(
    start_pool: Pools, listen: Listen, deed: str
) -> None:
    pool, listener = start_warm(start_pool, listen)
    params = {"text": "last words\n", "deed": deed}
    handle = submit(listener.executor, make_task("speak_and_die", params=params))
    end = listener.end_of(handle)
    assert read_log(listener, handle).startswith("last words\n")
    assert end.log_bytes >= len("last words\n")
    run_short_tasks(listener)
    assert len(unnamed_logs(pool)) == 1, "that of the worker that has taken its place"


def test_what_a_task_wrote_is_kept_when_its_pool_is_stopped(
    start_pool: Pools, listen: Listen, tmp_path: Path
) -> None:
    pool, listener = start_warm(start_pool, listen)
    said = tmp_path / "said"
    params = {"text": "so far\n", "gate": str(tmp_path / "never"), "said": str(said)}
    handle = submit(listener.executor, make_task("speak_and_wait", params=params))
    while not said.exists():  # before anybody looks at it, if we are quick enough
        pass
    pool.stop()
    assert read_log(listener, handle) == "so far\n"
    assert unnamed_logs(pool) == []


def test_unnamed_logs_go_with_their_workers(start_pool: Pools, listen: Listen) -> None:
    pool, listener = start_warm(start_pool, listen)
    (former,) = unnamed_logs(pool)
    (worker,) = [worker["pid"] for worker in listener.executor.status()["workers"]]
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: former not in unnamed_logs(pool))
    run_short_tasks(listener)
    (left,) = unnamed_logs(pool)
    pool.stop(signal.SIGKILL)
    assert unnamed_logs(pool) == [left]
    pool.start()
    assert unnamed_logs(pool) == []
    run_short_tasks(listener)
    assert len(unnamed_logs(pool)) == 1
    pool.stop()
    assert unnamed_logs(pool) == []


def test_log_is_cut_at_its_limit_and_says_so(start_pool: Pools, listen: Listen) -> None:
    listener = listen(start_pool(workers=1, log_limit_bytes=10_000))
    handle = submit(listener.executor, make_task("huge_log", params={"n_bytes": 160_000}))
    end = listener.end_of(handle)
    chunk = listener.executor.read_log(handle, 0, 1_000_000)
    assert end.state == "succeeded"
    assert chunk.text[:10_000] == "0123456789abcde\n" * 625
    assert chunk.text[10_000:] == (
        "\n[log cut: it reached its limit of 10000 bytes; at least 150000 more were dropped]\n"
    )
    assert end.log_bytes == chunk.size_bytes == len(chunk.text)
    assert chunk.is_complete
