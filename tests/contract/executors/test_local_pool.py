"""What the local pool promises beyond the contract of executors, with a real supervisor."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from executors.base import ExecutorSettings, Resources, Task
from executors.contract_tools import Ledger, Listener, is_alive, submit
from executors.errors import ExecutorError, ExecutorUnavailableError
from executors.local.client import is_pool_reachable
from executors.local.launch import supervisor_command
from tests.support.pool_process import (
    ROOT,
    Listen,
    PoolProcess,
    Pools,
    first_told,
    make_task,
)
from tests.support.waiting import wait_until


def worker_pids(listener: Listener) -> set[int]:
    return {worker["pid"] for worker in listener.executor.status()["workers"]}


# --- death and restart of the supervisor ----------------------------------------------------------


def test_a_task_that_asks_for_a_gpu_is_told_that_there_is_none(
    start_pool: Pools, listen: Listen
) -> None:
    listener = listen(start_pool(workers=1))
    handle = submit(listener.executor, make_task("ok", resources=Resources(gpu=1)))
    end = listener.end_of(handle)
    assert (end.state, end.reason) == ("failed", "invalid_input")
    assert "1 GPU" in end.message
    assert "run.resources.gpu" in end.hint


def test_supervisor_killed_takes_its_workers_along_and_its_successor_tells_what_was_lost(
    start_pool: Pools, listen: Listen, ledger: Ledger
) -> None:
    pool = start_pool(workers=1)
    listener = listen(pool)
    ended = submit(listener.executor, make_task("ok", params={"value": 5}))
    end = listener.end_of(ended)
    released = submit(listener.executor, make_task("ok"))
    listener.end_of(released)
    listener.executor.release([released])
    running_task = make_task("forks_setsid_child", params={"ledger": str(ledger.path)})
    running = submit(listener.executor, running_task)
    waiting = submit(listener.executor, make_task("ok"))
    child, parent = ledger.pid_of("child"), ledger.pid_of("parent")

    pool.stop(signal.SIGKILL)
    wait_until(lambda: not is_alive(parent), 2.0)
    with pytest.raises(ExecutorUnavailableError):
        listener.executor.submit(make_task("ok"))
    pool.start()

    assert not is_alive(child)
    told = first_told(pool)
    assert told.keys() == {ended, running, waiting}
    assert told[ended] == end
    assert (told[running].state, told[running].reason) == ("failed", "lost")
    assert told[running].started_at is not None
    assert (told[waiting].state, told[waiting].reason) == ("failed", "lost")
    assert told[waiting].started_at is None
    assert listener.end_of(running).reason == "lost"  # the old object connects again by itself

    for task in (running_task,):
        submit(listener.executor, task)
    listener.end_of(submit(listener.executor, make_task("ok")))
    assert [word for word, _ in ledger.entries()] == ["child", "parent"]


def test_released_and_cancelled_attempts_do_not_start_after_a_restart(
    start_pool: Pools, listen: Listen, ledger: Ledger
) -> None:
    pool = start_pool(workers=1)
    listener = listen(pool)
    released = make_task("ok", params={"ledger": str(ledger.path)})
    listener.end_of(submit(listener.executor, released))
    listener.executor.release([released.attempt_id])
    cancelled = make_task("hang", params={"ledger": str(ledger.path)})
    listener.executor.cancel(cancelled.attempt_id)
    listener.end_of(submit(listener.executor, make_task("ok")))
    for number in (signal.SIGKILL, signal.SIGTERM):
        pool.stop(number)
        pool.start()
    submit(listener.executor, released)
    assert listener.end_of(submit(listener.executor, cancelled)).state == "cancelled"
    listener.end_of(submit(listener.executor, make_task("ok")))
    assert [word for word, _ in ledger.entries()] == ["ok"]


def test_supervisor_told_to_stop_leaves_nothing_running(
    start_pool: Pools, listen: Listen, ledger: Ledger
) -> None:
    pool = start_pool(workers=2)
    listener = listen(pool)
    params = {"ledger": str(ledger.path)}
    handle = submit(listener.executor, make_task("forks_setsid_child", params=params))
    pids = [ledger.pid_of("child"), ledger.pid_of("parent")]
    assert pool.stop() == 0
    assert [pid for pid in pids if is_alive(pid)] == []
    assert pool.remains() == []
    pool.start()
    assert first_told(pool)[handle].reason == "lost"


def test_supervisor_ends_when_the_process_that_started_it_is_gone(
    settings: ExecutorSettings,
) -> None:
    # Else it would keep the lock, and the next launcher could start no other.
    script = (
        "import subprocess, sys, time\n"
        "print(subprocess.Popen(sys.argv[1:]).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = supervisor_command("local", {"preload": [], "workers": 1}, settings)
    with subprocess.Popen(
        [sys.executable, "-c", script, *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as launcher:
        assert launcher.stdout is not None
        supervisor = int(launcher.stdout.readline())
        wait_until(lambda: is_pool_reachable(settings.home, "local"))
        launcher.kill()
    wait_until(lambda: not is_alive(supervisor))


def test_poll_waits_out_the_absence_of_the_supervisor(start_pool: Pools, listen: Listen) -> None:
    pool = start_pool(workers=1)
    listener = listen(pool)
    assert listener.poll(5.0) == []
    pool.stop()
    begun = time.monotonic()
    assert listener.poll(0.3) == []
    assert 0.25 < time.monotonic() - begun < 2.0


def test_first_poll_says_that_no_supervisor_answers(settings: ExecutorSettings) -> None:
    # An empty answer would mean that nothing is held, and what is would be taken for lost.
    pool = PoolProcess(settings, {}, "absent")
    with (
        contextlib.closing(pool.make_client()) as client,
        pytest.raises(ExecutorUnavailableError, match="absent"),
    ):
        client.poll(0.2)


def test_cancel_said_while_the_supervisor_was_away_arrives(
    start_pool: Pools, listen: Listen, ledger: Ledger
) -> None:
    pool = start_pool(workers=1)
    listener = listen(pool)
    pool.stop()
    task = make_task("ok", params={"ledger": str(ledger.path)})
    listener.executor.cancel(task.attempt_id)
    pool.start()
    assert listener.end_of(submit(listener.executor, task)).state == "cancelled"
    assert ledger.entries() == []


# --- queue ----------------------------------------------------------------------------------------


def test_attempts_wait_in_order_of_arrival(
    start_pool: Pools, listen: Listen, ledger: Ledger, tmp_path: Path
) -> None:
    pool = start_pool(workers=1)
    listener = listen(pool)
    gate = tmp_path / "gate"
    first = submit(listener.executor, make_task("ok", params={"gate": str(gate)}))
    speakers = []
    for operator in ("slow_start", "speak", "refuse_input", "ok"):
        params = {"ledger": str(ledger.path)}
        speakers.append(submit(listener.executor, make_task(operator, params=params)))
    dropped = submit(listener.executor, make_task("kill", params={"ledger": str(ledger.path)}))
    told = first_told(pool)
    assert [told[handle].kind for handle in speakers] == ["accepted"] * 4
    listener.executor.cancel(dropped)
    assert listener.end_of(dropped).state == "cancelled"
    gate.touch()
    for handle in (first, *speakers):
        listener.end_of(handle)
    assert [word for word, _ in ledger.entries()] == ["slow_start", "speak", "refuse_input", "ok"]


def test_no_more_tasks_run_at_once_than_there_are_slots(
    start_pool: Pools, listen: Listen, ledger: Ledger, tmp_path: Path
) -> None:
    pool = start_pool(workers=2)
    listener = listen(pool)
    gate = tmp_path / "gate"
    params = {"gate": str(gate), "ledger": str(ledger.path)}
    handles = [submit(listener.executor, make_task("ok", params=params)) for _ in range(4)]
    wait_until(lambda: len(ledger.entries()) == 2)
    status = listener.executor.status()
    assert [worker["stage"] for worker in status["workers"]].count("busy") == 2
    assert status["n_queued"] == 2
    gate.touch()
    assert [listener.end_of(handle).state for handle in handles] == ["succeeded"] * 4


def test_task_that_is_none_is_refused(start_pool: Pools, listen: Listen) -> None:
    listener = listen(start_pool(workers=1))
    bad = make_task("ok")
    with pytest.raises(ExecutorError, match="is not <run id>"):
        listener.executor.submit(type(bad)(**{**to_dict(bad), "attempt_id": "../../evil.1.1"}))


def to_dict(task: Task) -> dict[str, object]:
    return {name: getattr(task, name) for name in task.__struct_fields__}


# --- workers --------------------------------------------------------------------------------------


def test_worker_is_replaced_after_its_number_of_tasks(start_pool: Pools, listen: Listen) -> None:
    listener = listen(start_pool(workers=1, max_tasks_per_worker=3))
    pids = []
    for _ in range(7):
        end = listener.end_of(submit(listener.executor, make_task("look_around")))
        pids.append(end.outputs[0].inline["pid"])
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


def test_next_task_finds_nothing_of_what_the_last_one_changed(
    start_pool: Pools, listen: Listen
) -> None:
    listener = listen(start_pool(workers=1))
    before = listener.end_of(submit(listener.executor, make_task("look_around")))
    mess = listener.end_of(submit(listener.executor, make_task("leaves_mess")))
    listener.end_of(submit(listener.executor, make_task("deafens_late")))
    after = listener.end_of(submit(listener.executor, make_task("look_around")))
    assert before.outputs[0].inline == {
        "pid": mess.outputs[0].inline["pid"],
        "cwd": os.getcwd(),
        "left_behind": "",
        "home": os.environ["HOME"],
        "path": os.environ["PATH"],
        "threads": "1",
        "is_deaf": False,
    }
    assert after.outputs[0].inline == before.outputs[0].inline
    hanging = submit(listener.executor, make_task("hang"))
    listener.wait_for(hanging, "started")
    begun = time.monotonic()
    listener.executor.cancel(hanging)
    assert listener.end_of(hanging).state == "cancelled"
    assert time.monotonic() - begun < 0.4  # SIGTERM is heard again: no need for SIGKILL


def test_child_that_returns_from_the_algorithm_tells_nothing(
    start_pool: Pools, listen: Listen, ledger: Ledger
) -> None:
    listener = listen(start_pool(workers=1))
    params = {"ledger": str(ledger.path)}
    end = listener.end_of(
        submit(listener.executor, make_task("forked_child_returns", params=params))
    )
    assert end.state == "succeeded"
    assert end.outputs[0].inline == {"pid": ledger.pid_of("parent")}
    assert listener.end_of(submit(listener.executor, make_task("ok"))).state == "succeeded"


def test_task_that_closes_the_worker_s_socket_is_named_and_hurts_no_other(
    start_pool: Pools, listen: Listen
) -> None:
    listener = listen(start_pool(workers=1))
    end = listener.end_of(submit(listener.executor, make_task("closes_descriptors")))
    assert (end.state, end.reason) == ("failed", "exited")
    assert listener.end_of(submit(listener.executor, make_task("ok"))).state == "succeeded"


def test_crowd_of_children_in_their_own_sessions_dies_with_the_task(
    start_pool: Pools, listen: Listen, ledger: Ledger
) -> None:
    listener = listen(start_pool(workers=1))
    params = {"ledger": str(ledger.path), "n_children": 12}
    handle = submit(listener.executor, make_task("forks_crowd", params=params))
    wait_until(lambda: len(ledger.entries()) == 24)
    listener.executor.cancel(handle)
    begun = time.monotonic()
    assert listener.end_of(handle).state == "cancelled"
    assert time.monotonic() - begun < 2.0
    assert [pid for _, pid in ledger.entries() if is_alive(pid)] == []


def test_idle_worker_that_is_killed_is_replaced(start_pool: Pools, listen: Listen) -> None:
    listener = listen(start_pool(workers=2))
    wait_until(lambda: len(worker_pids(listener)) == 2)
    victim = min(worker_pids(listener))
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(pids := worker_pids(listener)) == 2 and victim not in pids)
    assert listener.end_of(submit(listener.executor, make_task("ok"))).state == "succeeded"


def test_memory_limit_of_the_options_holds_for_tasks_without_one(
    start_pool: Pools, listen: Listen
) -> None:
    listener = listen(start_pool(workers=1, memory_mb=200))
    end = listener.end_of(submit(listener.executor, make_task("memory_hog")))
    assert end.reason == "out_of_memory"
    assert "200 MiB" in end.message


# --- template -------------------------------------------------------------------------------------


def wait_for_preloaded(listener: Listener, n_workers: int) -> set[int]:
    def find() -> set[int]:
        workers = listener.executor.status()["workers"]
        is_all = len(workers) == n_workers and all(
            worker["is_preloaded"] and worker["stage"] == "idle" for worker in workers
        )
        return {worker["pid"] for worker in workers} if is_all else set()

    return wait_until(find, 20.0, "workers forked from the template")


def test_light_workers_are_replaced_by_preloaded_ones(start_pool: Pools, listen: Listen) -> None:
    pool = start_pool(workers=3, preload=["colorsys"])
    listener = listen(pool)
    assert listener.end_of(submit(listener.executor, make_task("ok"))).state == "succeeded"
    pids = wait_for_preloaded(listener, 3)
    end = listener.end_of(submit(listener.executor, make_task("look_around")))
    assert end.outputs[0].inline["pid"] in pids
    params = {"is_deaf": True}
    handle = submit(listener.executor, make_task("hang", timeout_s=0.2, params=params))
    assert listener.end_of(handle).reason == "timeout"
    assert wait_for_preloaded(listener, 3) != pids


def test_there_is_a_light_worker_per_core_and_waiting_task_until_the_template_is_ready(
    start_pool: Pools, listen: Listen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template_gate, task_gate = tmp_path / "template", tmp_path / "task"
    monkeypatch.setenv("AWAITED_FILE", str(template_gate))
    n_cores = os.cpu_count() or 1
    pool = start_pool(workers=n_cores + 2, preload=["tests.support.awaited_module"])
    listener = listen(pool)
    wait_until(lambda: len(worker_pids(listener)) == n_cores)
    handles = [
        submit(listener.executor, make_task("ok", params={"gate": str(task_gate)}))
        for _ in range(n_cores + 1)
    ]
    for handle in handles:
        listener.wait_for(handle, "started")
    assert len(worker_pids(listener)) == n_cores + 1
    template_gate.touch()
    task_gate.touch()
    for handle in handles:
        listener.end_of(handle)
    wait_for_preloaded(listener, n_cores + 2)


def test_light_workers_are_replaced_though_no_task_comes(
    start_pool: Pools, listen: Listen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, n_cores = tmp_path / "gate", os.cpu_count() or 1
    monkeypatch.setenv("AWAITED_FILE", str(gate))
    listener = listen(start_pool(workers=n_cores + 2, preload=["tests.support.awaited_module"]))
    wait_until(lambda: len(worker_pids(listener)) == n_cores)
    gate.touch()
    wait_for_preloaded(listener, n_cores + 2)


def test_death_of_the_template_hurts_no_task(
    start_pool: Pools, listen: Listen, tmp_path: Path
) -> None:
    pool = start_pool(workers=2, preload=["colorsys"])
    listener = listen(pool)
    wait_for_preloaded(listener, 2)
    gate = tmp_path / "gate"
    innocent = submit(listener.executor, make_task("ok", params={"gate": str(gate)}))
    listener.wait_for(innocent, "started")
    template = listener.executor.status()["template"]["pid"]
    os.kill(template, signal.SIGKILL)
    assert listener.end_of(submit(listener.executor, make_task("kill"))).reason == "killed"
    assert listener.end_of(submit(listener.executor, make_task("ok"))).state == "succeeded"
    gate.touch()
    assert listener.end_of(innocent).state == "succeeded"

    def find_new_template() -> bool:
        status = listener.executor.status()["template"]
        return status["is_ready"] and status["pid"] != template

    wait_until(find_new_template)
    wait_for_preloaded(listener, 2)


def test_module_that_cannot_be_preloaded_is_named_and_left_out(
    start_pool: Pools, listen: Listen
) -> None:
    pool = start_pool(workers=1, preload=["no_such_module", "colorsys"])
    listener = listen(pool)
    wait_for_preloaded(listener, 1)
    failed = listener.executor.status()["template"]["failed"]
    assert failed == {"no_such_module": "ModuleNotFoundError: No module named 'no_such_module'"}
    assert "preload_failed module=no_such_module" in pool.log_text()
    assert listener.end_of(submit(listener.executor, make_task("ok"))).state == "succeeded"


# --- cost -----------------------------------------------------------------------------------------


def count_open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_many_tasks_leak_neither_descriptors_nor_processes_nor_memory(
    start_pool: Pools, listen: Listen
) -> None:
    pool = start_pool(workers=2, max_tasks_per_worker=200)
    listener = listen(pool)

    def run(n_tasks: int) -> None:
        handles = {submit(listener.executor, make_task("ok")) for _ in range(n_tasks)}
        while handles:
            ended = [told.attempt_id for told in listener.poll(5.0) if told.kind == "ended"]
            listener.executor.release(ended)
            handles.difference_update(ended)
        listener.heard.clear()
        wait_until(lambda: len(pool.remains()) == 2)

    run(300)
    n_files = count_open_files(pool.pid)
    run(2000)
    assert count_open_files(pool.pid) == n_files
    status = listener.executor.status()
    assert status["n_held"] == 0


def test_idle_supervisor_sleeps(start_pool: Pools, listen: Listen) -> None:
    pool = start_pool(workers=2)
    listener = listen(pool)
    listener.end_of(submit(listener.executor, make_task("slow_start")))
    wait_until(lambda: len(worker_pids(listener)) == 2)

    def count_wakeups() -> int:
        text = Path(f"/proc/{pool.pid}/status").read_text()
        return int(text.split("voluntary_ctxt_switches:")[1].split()[0])

    quiet_from = time.monotonic() + 0.5  # the timers of the last task and of the births pass
    wait_until(lambda: time.monotonic() > quiet_from)
    before, begun = count_wakeups(), time.monotonic()
    wait_until(lambda: time.monotonic() > begun + 1.0)
    assert count_wakeups() - before <= 1
