"""How the local pool stops: what runs may end, the rest is handed back, and all of it is told."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executors.base import ExecutorSettings, Outcome, Task
from executors.contract_tools import Ledger, Listener, is_alive, submit
from tests.support.pool_process import FAULT_OPERATORS, PoolProcess, run_pool

Pools = Callable[..., PoolProcess]
Listen = Callable[[PoolProcess], Listener]
_indexes = iter(range(1, 100))


def make_task(operator: str, **params: str) -> Task:
    index = next(_indexes)
    return Task(
        attempt_id=f"rstop.{index}.1",
        run_id="rstop",
        operator=operator,
        index=index,
        attempt=1,
        algorithm=operator,
        entry=f"{FAULT_OPERATORS}:{operator}",
        params=dict(params),
        n_outputs=1,
        folder="file:///nowhere",
    )


@pytest.fixture
def start_pool(tmp_path: Path) -> Iterator[Pools]:
    settings = ExecutorSettings(
        home=str(tmp_path), logs=str(tmp_path / "logs"), store_url=f"file://{tmp_path}/store"
    )
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(run_pool(settings, options))


@pytest.fixture
def listen() -> Iterator[Listen]:
    with contextlib.ExitStack() as stack:
        yield lambda pool: Listener(stack.enter_context(contextlib.closing(pool.make_client())))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def first_told(pool: PoolProcess) -> dict[str, Outcome]:
    with contextlib.closing(pool.make_client()) as client:
        return {outcome.attempt_id: outcome for outcome in client.poll(2.0)}


def test_stop_lets_what_runs_end_and_hands_back_what_waits_and_what_comes(
    start_pool: Pools, listen: Listen, ledger: Ledger, tmp_path: Path
) -> None:
    pool = start_pool(workers=1)
    listener = listen(pool)
    gate = tmp_path / "gate"
    params = {"ledger": str(ledger.path), "gate": str(gate)}
    running = submit(listener.executor, make_task("ok", **params))
    ledger.pid_of("ok")
    waiting = submit(listener.executor, make_task("ok", **params))
    os.kill(pool.pid, signal.SIGUSR1)
    for handle in (waiting, submit(listener.executor, make_task("ok", **params))):
        end = listener.end_of(handle)
        assert (end.state, end.reason, end.is_handed_back) == ("failed", "lost", True)
        assert end.started_at is None
    gate.touch()
    assert listener.end_of(running).state == "succeeded"
    assert pool.stop() == 0
    assert len(ledger.entries()) == 1


def test_stop_tells_what_it_kills_before_it_is_over(
    start_pool: Pools, listen: Listen, ledger: Ledger
) -> None:
    pool = start_pool(workers=2)
    listener = listen(pool)
    task = make_task("forks_setsid_child", ledger=str(ledger.path))
    running = submit(listener.executor, task)
    child, parent = ledger.pid_of("child"), ledger.pid_of("parent")
    listener.wait_for(running, "started")
    os.kill(pool.pid, signal.SIGUSR1)
    assert pool.stop() == 0
    assert not is_alive(child)
    assert not is_alive(parent)
    end = listener.end_of(running)  # from the connection that is closed by now
    assert (end.state, end.reason, end.is_handed_back) == ("failed", "lost", True)
    assert end.started_at is not None
    assert not Path(pool.settings.home, "work", running).exists()
    pool.start()
    assert first_told(pool) == {running: end}


def test_signal_to_the_supervisor_alone_is_no_stop_in_good_order(
    start_pool: Pools, listen: Listen, ledger: Ledger
) -> None:
    pool = start_pool(workers=1)
    params = {"ledger": str(ledger.path)}
    running = submit(listen(pool).executor, make_task("hang", **params))
    ledger.pid_of("hang")
    pool.stop()
    pool.start()
    end = first_told(pool)[running]
    assert (end.reason, end.is_handed_back) == ("lost", False)
