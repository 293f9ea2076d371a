"""Memory limits that the kernel keeps, with a real supervisor and real cgroups.

They need a machine where memory cgroups can be made, and are skipped elsewhere. Where this was
written that is version 1; the same tests run on version 2 if it is there.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executors.base import ExecutorSettings, Resources, Task
from executors.contract_tools import Ledger, Listener, is_alive, submit
from executors.local import cgroups, pens
from executors.local.cgroups import open_cages
from executors.local.options import PoolPaths
from tests.support import pool_process
from tests.support.pool_process import PoolProcess, run_pool
from tests.support.waiting import wait_until


def own_cgroup() -> Path:
    """Folder in which pools make theirs; skips the test where none can be made."""
    cages = open_cages("trial", str(os.getpid()), is_wanted=True)
    if cages is None:
        pytest.skip("no memory cgroups can be made here")
    cages.close()
    return Path(cages.folder).parent


@pytest.fixture
def base() -> Path:
    return own_cgroup()


Start = Callable[..., tuple[PoolProcess, Listener]]


@pytest.fixture
def start(base: Path, settings: ExecutorSettings) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def make(**options: object) -> tuple[PoolProcess, Listener]:
            pool = stack.enter_context(run_pool(settings, options))
            return pool, Listener(stack.enter_context(contextlib.closing(pool.make_client())))

        yield make
    wait_until(lambda: not folders_of(base, settings), message="cgroups are left behind")


def make_task(operator: str, memory_mb: int | None = None, **fields: object) -> Task:
    return pool_process.make_task(operator, resources=Resources(memory_mb=memory_mb), **fields)


def folders_of(base: Path, settings: ExecutorSettings) -> list[Path]:
    socket = PoolPaths(settings.home, "local").socket
    return list(base.glob(f"{cgroups.folder_prefix('local', socket)}*"))


def cages_in(base: Path, settings: ExecutorSettings) -> list[str]:
    (folder,) = folders_of(base, settings)
    return [entry.name for entry in folder.iterdir() if entry.is_dir()]


def cgroup_of(pid: int) -> str:
    place = cgroups.find_place(
        Path("/proc/self/mountinfo").read_text(), Path(f"/proc/{pid}/cgroup").read_text()
    )
    return place.path


def test_whom_somebody_else_kills_after_a_hog_did_not_lack_memory(
    start: Start, ledger: Ledger
) -> None:
    _, listener = start(workers=2)
    params = {"ledger": str(ledger.path)}
    hog = submit(listener.executor, make_task("memory_hog", 200, params=params))
    assert listener.end_of(hog, 10).reason == "out_of_memory"
    end = listener.end_of(submit(listener.executor, make_task("kill", params=params)), 10)
    assert end.reason == "killed"


def test_hog_is_killed_by_the_kernel_and_neighbours_live_on(
    start: Start, base: Path, settings: ExecutorSettings, tmp_path: Path
) -> None:
    pool, listener = start(workers=4)
    gate = str(tmp_path / "gate")
    neighbours = [
        submit(listener.executor, make_task("ok", memory_mb, params={"gate": gate}))
        for memory_mb in (None, 200, 300)
    ]
    end = listener.end_of(submit(listener.executor, make_task("memory_hog", 200)), 10)
    assert (end.state, end.reason) == ("failed", "out_of_memory")
    assert "limit of 200 MiB, and the kernel killed it" in end.message
    assert "run.resources.memory_mb" in end.hint
    Path(gate).touch()
    assert [listener.end_of(handle).state for handle in neighbours] == ["succeeded"] * 3
    wait_until(lambda: cages_in(base, settings) == [])
    assert "memory_limits kept_by=cgroups" in pool.log_text()


@pytest.mark.parametrize(
    ("then", "said"), [("hang", "the kernel killed it."), ("fail", "the child is gone")]
)
def test_killed_child_of_a_task_is_named_too(start: Start, then: str, said: str) -> None:
    _, listener = start(workers=1)
    task = make_task("child_hog", 200, params={"then": then})
    end = listener.end_of(submit(listener.executor, task), 10)
    assert (end.state, end.reason) == ("failed", "out_of_memory")
    assert "limit of 200 MiB" in end.message
    assert said in end.message


def test_warm_worker_returns_from_the_cgroup_and_serves_on(
    start: Start, base: Path, settings: ExecutorSettings, ledger: Ledger, tmp_path: Path
) -> None:
    pool, listener = start(workers=1)
    gate = tmp_path / "gate"
    params = {"ledger": str(ledger.path), "gate": str(gate)}
    task = make_task("ok", 256, params=params)
    handle = submit(listener.executor, task)
    pid = ledger.pid_of("ok")
    (folder,) = folders_of(base, settings)
    assert cgroup_of(pid) == str(folder / handle)
    assert cgroup_of(pool.pid) != cgroup_of(pid)
    limits = [folder / handle / name for name in ("memory.limit_in_bytes", "memory.max")]
    (limit,) = [int(path.read_text()) for path in limits if path.exists()]
    assert limit == 256 * 1024 * 1024
    gate.touch()
    assert listener.end_of(handle).state == "succeeded"
    assert cgroup_of(pid) == cgroup_of(pool.pid)
    assert cages_in(base, settings) == []
    look = listener.end_of(submit(listener.executor, make_task("ok", params=params)))
    assert look.worker == listener.end_of(handle).worker


def test_attempt_without_a_limit_is_in_no_cgroup_of_its_own(
    start: Start, base: Path, settings: ExecutorSettings, ledger: Ledger
) -> None:
    pool, listener = start(workers=1)
    handle = submit(listener.executor, make_task("hang", params={"ledger": str(ledger.path)}))
    assert cgroup_of(ledger.pid_of("hang")) == cgroup_of(pool.pid)
    assert cages_in(base, settings) == []
    listener.executor.cancel(handle)
    assert listener.end_of(handle).state == "cancelled"


def test_cancel_empties_and_removes_the_cgroup(
    start: Start, base: Path, settings: ExecutorSettings, ledger: Ledger
) -> None:
    _, listener = start(workers=1)
    task = make_task("forks_setsid_child", 256, params={"ledger": str(ledger.path)})
    handle = submit(listener.executor, task)
    pids = [ledger.pid_of("child"), ledger.pid_of("parent")]
    assert [os.path.basename(cgroup_of(pid)) for pid in pids] == [handle, handle]
    listener.executor.cancel(handle)
    assert listener.end_of(handle).state == "cancelled"
    wait_until(lambda: not any(map(is_alive, pids)), 2)
    wait_until(lambda: cages_in(base, settings) == [], 2)


def test_timeout_keeps_its_name(start: Start, base: Path, settings: ExecutorSettings) -> None:
    _, listener = start(workers=1)
    task = make_task("hang", 256, timeout_s=0.5, params={"is_deaf": True})
    assert listener.end_of(submit(listener.executor, task)).reason == "timeout"
    wait_until(lambda: cages_in(base, settings) == [], 2)


def test_what_a_killed_supervisor_left_is_removed_by_the_next(
    start: Start, base: Path, settings: ExecutorSettings, ledger: Ledger
) -> None:
    pool, listener = start(workers=1)
    handle = submit(listener.executor, make_task("hang", 256, params={"ledger": str(ledger.path)}))
    worker = ledger.pid_of("hang")
    old = folders_of(base, settings)
    pool.stop(signal.SIGKILL)
    wait_until(lambda: not is_alive(worker))
    assert (old[0] / handle).is_dir()  # what is to be seen to was there
    pool.start()
    assert listener.end_of(handle).reason == "lost"
    assert len(new := folders_of(base, settings)) == 1
    assert new != old
    assert cages_in(base, settings) == []


def test_what_lives_in_a_left_cgroup_is_killed(base: Path, tmp_path: Path) -> None:
    dead = open_cages("local", str(tmp_path), is_wanted=True)
    assert dead is not None
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        dead.enter("r1.1.1", 64, 100)
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    heir = open_cages("local", str(tmp_path), is_wanted=True)
    assert heir is not None
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert os.listdir(heir.folder)
    assert not heir.has("r1.1.1")
    heir.close()
    assert not os.path.exists(heir.folder)


def test_memory_that_the_worker_held_before_does_not_count(start: Start) -> None:
    _, listener = start(workers=1)
    keep = make_task("hold_memory", params={"keep_mb": 200})
    kept = listener.end_of(submit(listener.executor, keep))
    take = make_task("hold_memory", 150, params={"take_mb": 60, "seconds": 0.5})
    taken = listener.end_of(submit(listener.executor, take))
    assert (taken.state, taken.message) == ("succeeded", "")
    assert taken.worker == kept.worker
    hog = listener.end_of(submit(listener.executor, make_task("memory_hog", 150)))
    assert (hog.reason, "the kernel killed it" in hog.message) == ("out_of_memory", True)


def test_limits_are_kept_by_watching_where_cgroups_are_off(
    start: Start, base: Path, settings: ExecutorSettings
) -> None:
    pool, listener = start(workers=1, cgroups="off")
    assert "memory_limits kept_by=watching" in pool.log_text()
    assert folders_of(base, settings) == []
    end = listener.end_of(submit(listener.executor, make_task("memory_hog", 200)))
    assert end.reason == "out_of_memory"
    assert "The attempt used" in end.message


def test_cgroup_that_cannot_be_made_is_told_once_and_the_watch_keeps_the_limit(
    start: Start, base: Path, settings: ExecutorSettings
) -> None:
    pool, listener = start(workers=1)
    (folder,) = folders_of(base, settings)
    folder.rmdir()
    for _ in range(2):
        assert listener.end_of(submit(listener.executor, make_task("ok", 200))).state == "succeeded"
    assert pool.log_text().count("cgroup_refused") == 1
    end = listener.end_of(submit(listener.executor, make_task("memory_hog", 200)))
    assert "The attempt used" in end.message


def test_memory_that_runs_out_around_the_cgroup_is_not_blamed_on_its_limit(base: Path) -> None:
    outer = open_cages("outer", str(os.getpid()), is_wanted=True)
    assert outer is not None
    with contextlib.closing(outer):
        limits = [Path(outer.folder, name) for name in ("memory.limit_in_bytes", "memory.max")]
        next(path for path in limits if path.exists()).write_text(str(64 * 1024 * 1024))
        child = os.fork()
        if child == 0:
            outer.enter("r1.1.1", 1000, 100)
            os._exit(len(b"x" * (128 * 1024 * 1024)) % 2)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert outer.killing("r1.1.1") == "elsewhere"


# --- processes ------------------------------------------------------------------------------------


def pens_of(settings: ExecutorSettings) -> list[Path]:
    socket = PoolPaths(settings.home, "local").socket
    base = Path(cgroups.find_base(cgroups.find_own_place("pids"), "pids"))
    return list(base.glob(f"{cgroups.folder_prefix('local', socket, 'pids')}*/worker-*"))


@pytest.fixture
def start_penned(start: Start) -> Start:
    trial = pens.open_pens("trial", str(os.getpid()), 10, is_wanted=True)
    if trial is None:
        pytest.skip("no cgroups that limit processes can be made here")
    trial.close()
    return start


def test_every_worker_lives_in_a_pen_that_goes_with_it(
    start_penned: Start, settings: ExecutorSettings, ledger: Ledger
) -> None:
    pool, listener = start_penned(workers=2, max_processes=20)
    assert "process_limits kept_by=cgroups" in pool.log_text()
    listener.end_of(submit(listener.executor, make_task("ok")))
    wait_until(lambda: len(pens_of(settings)) == 2)
    assert {(pen / "pids.max").read_text() for pen in pens_of(settings)} == {"20\n"}
    task = make_task("forks_setsid_child", params={"ledger": str(ledger.path)})
    handle = submit(listener.executor, task)
    pids = {ledger.pid_of("child"), ledger.pid_of("parent")}
    pen = next(pen for pen in pens_of(settings) if pen.name == f"worker-{ledger.pid_of('parent')}")
    assert pids <= {int(pid) for pid in (pen / "cgroup.procs").read_text().split()}
    listener.executor.cancel(handle)
    listener.end_of(handle)
    wait_until(lambda: not pen.exists())
    assert not any(map(is_alive, pids))


def test_failure_at_the_limit_of_processes_is_named_and_the_worker_replaced(
    start_penned: Start, settings: ExecutorSettings
) -> None:
    _, listener = start_penned(workers=1, max_processes=20)
    crowd = make_task("leaves_threads", params={"n": 30})
    end = listener.end_of(submit(listener.executor, crowd))
    assert (end.state, end.reason) == ("failed", "too_many_processes")
    assert "limit of 20 processes and threads" in end.message
    assert "can't start new thread" in end.message
    assert "max_processes" in end.hint
    next_end = listener.end_of(submit(listener.executor, make_task("ok")))
    assert next_end.state == "succeeded"
    assert next_end.worker != end.worker


def test_attempt_that_does_without_what_is_refused_succeeds(
    start_penned: Start, settings: ExecutorSettings
) -> None:
    _, listener = start_penned(workers=1, max_processes=20)
    task = make_task("does_without", params={"n": 30, "seconds": 0.7})
    end = listener.end_of(submit(listener.executor, task))
    assert (end.state, end.message) == ("succeeded", "")
    assert end.outputs[0].inline["threads"] < 20


def test_pens_that_a_killed_supervisor_left_are_removed_by_the_next(
    start_penned: Start, settings: ExecutorSettings
) -> None:
    pool, listener = start_penned(workers=1)
    listener.end_of(submit(listener.executor, make_task("ok")))
    old = pens_of(settings)
    assert old
    pool.stop(signal.SIGKILL)
    pool.start()
    listener.end_of(submit(listener.executor, make_task("ok")))
    assert not any(pen.exists() for pen in old)
