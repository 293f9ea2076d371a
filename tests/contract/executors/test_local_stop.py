"""How the local pool stops: what runs may end, the rest is handed back, and all of it is told."""

import os
import signal
from pathlib import Path

from executors.contract_tools import Ledger, is_alive, submit
from tests.support.pool_process import Listen, Pools, first_told, make_task


def test_stop_lets_what_runs_end_and_hands_back_what_waits_and_what_comes(
    start_pool: Pools, listen: Listen, ledger: Ledger, tmp_path: Path
) -> None:
    pool = start_pool(workers=1)
    listener = listen(pool)
    gate = tmp_path / "gate"
    params = {"ledger": str(ledger.path), "gate": str(gate)}
    running = submit(listener.executor, make_task("ok", params=params))
    ledger.pid_of("ok")
    waiting = submit(listener.executor, make_task("ok", params=params))
    os.kill(pool.pid, signal.SIGUSR1)
    for handle in (waiting, submit(listener.executor, make_task("ok", params=params))):
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
    task = make_task("forks_setsid_child", params={"ledger": str(ledger.path)})
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
    running = submit(listen(pool).executor, make_task("hang", params=params))
    ledger.pid_of("hang")
    pool.stop()
    pool.start()
    end = first_told(pool)[running]
    assert (end.reason, end.is_handed_back) == ("lost", False)
