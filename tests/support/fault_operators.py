"""Algorithms that misbehave, each in one way; every executor must come through all of them.

Every operator appends a line `<word> <process id>` to the file that `ledger` names, in one write,
so that a test can count what really ran.
"""

import contextlib
import ctypes
import functools
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from algorithms.base import AlgorithmError, Context, Port, algorithm

REPORT = [Port("report", "report")]
fault = functools.partial(algorithm, outputs=REPORT, cacheable=False)
"""What misbehaves has to do so each time: a former result must not stand in."""


class Params(BaseModel):
    ledger: str = ""


def note(params: Params, word: str, pid: int | None = None) -> None:
    if params.ledger:
        line = f"{word} {pid or os.getpid()}\n".encode()
        fd = os.open(params.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, line)
        os.close(fd)


class OkParams(Params):
    value: int = 1
    gate: str = ""


@fault("ok", title="Succeed, when a gate file is there")
def ok(context: Context, params: OkParams) -> dict:
    note(params, "ok")
    while params.gate and not Path(params.gate).exists():
        time.sleep(0.005)
    return {"value": params.value}


@fault("raise", title="Raise")
def raise_error(context: Context, params: Params) -> dict:
    note(params, "raise")
    raise ValueError("列名不对: no column 'age'")


@fault("refuse_input", title="Find fault with the input")
def refuse_input(context: Context, params: Params) -> dict:
    note(params, "refuse_input")
    raise AlgorithmError("The table is empty.", hint="Choose another table.")


class UnpicklableError(Exception):
    def __init__(self, a: str, b: str) -> None:
        super().__init__(a)
        self.lock = threading.Lock()
        self.b = b


@fault("raise_unpicklable", title="Raise what cannot be pickled")
def raise_unpicklable(context: Context, params: Params) -> dict:
    note(params, "raise_unpicklable")
    raise UnpicklableError("cannot travel", "b")


class ExitParams(Params):
    code: int = 3


@fault("exit", title="End the process")
def exit_process(context: Context, params: ExitParams) -> dict:
    note(params, "exit")
    os._exit(params.code)


@fault("kill", title="Kill the process")
def kill(context: Context, params: Params) -> dict:
    note(params, "kill")
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    return {}


@fault("segfault", title="Read where nothing is")
def segfault(context: Context, params: Params) -> dict:
    note(params, "segfault")
    ctypes.string_at(0)
    return {}


class HangParams(Params):
    seconds: float = 600.0
    is_deaf: bool = False


@fault("hang", title="Never end; deaf to SIGTERM if asked")
def hang(context: Context, params: HangParams) -> dict:
    if params.is_deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(params, "hang")
    time.sleep(params.seconds)
    return {}


@fault("spin", title="Loop in C without ever giving the interpreter back")
def spin(context: Context, params: Params) -> dict:
    note(params, "spin")
    return {"sum": sum(range(10**13))}


class SlowStartParams(Params):
    seconds: float = 0.3


@fault("slow_start", title="Take a while")
def slow_start(context: Context, params: SlowStartParams) -> dict:
    note(params, "slow_start")
    time.sleep(params.seconds)
    return {"seconds": params.seconds}


class HugeParams(Params):
    n_bytes: int = 5_000_000


class HugeLogParams(HugeParams):
    pause_s: float = 0.0


@fault("huge_result", title="Give a large report")
def huge_result(context: Context, params: HugeParams) -> dict:
    note(params, "huge_result")
    return {"text": "x" * params.n_bytes}


@fault("huge_log", title="Write a large log")
def huge_log(context: Context, params: HugeLogParams) -> dict:
    note(params, "huge_log")
    line = b"0123456789abcde\n"
    for _ in range(params.n_bytes // (len(line) * 4096)):
        os.write(1, line * 4096)
        time.sleep(params.pause_s)
    os.write(1, line * (params.n_bytes // len(line) % 4096))
    return {}


class SpeakParams(Params):
    text: str = "第一行 one\n第二行 two\n"
    n_times: int = 1


@fault("speak", title="Write to the log in every way")
def speak(context: Context, params: SpeakParams) -> dict:
    note(params, "speak")
    for _ in range(params.n_times):
        print(params.text, end="")  # noqa: T201 - what is tested
    subprocess.run(["/bin/sh", "-c", "echo 子进程; echo to stderr >&2"], check=True)
    ctypes.CDLL(None).printf(b"from C without a line end")
    return {}


class SpeakAndWaitParams(Params):
    text: str
    gate: str
    said: str = ""


@fault("speak_and_wait", title="Write to the log, and go on when a gate file is there")
def speak_and_wait(context: Context, params: SpeakAndWaitParams) -> dict:
    os.write(1, params.text.encode())
    if params.said:
        Path(params.said).touch()
    while not Path(params.gate).exists():
        time.sleep(0.005)
    return {}


class SpeakAndDieParams(Params):
    text: str
    deed: Literal["segfault", "exit", "kill"]


@fault("speak_and_die", title="Write to the log, and end the process at once")
def speak_and_die(context: Context, params: SpeakAndDieParams) -> dict:
    os.write(1, params.text.encode())
    if params.deed == "segfault":
        ctypes.string_at(0)
    elif params.deed == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


# The last change of the ledger is the deed, for whoever measures how soon it is noticed.
class HogParams(Params):
    limit_mb: int = 4000


@fault("memory_hog", title="Take more and more memory")
def memory_hog(context: Context, params: HogParams) -> dict:
    note(params, "memory_hog")
    held = []
    for _ in range(params.limit_mb // 8):
        held.append(b"x" * (8 * 1024 * 1024))
        if params.ledger:
            os.utime(params.ledger)
        time.sleep(0.005)
    return {"held": len(held)}


class ChildHogParams(Params):
    then: Literal["hang", "fail"] = "hang"


@fault("child_hog", title="Have a child take more and more memory")
def child_hog(context: Context, params: ChildHogParams) -> dict:
    note(params, "child_hog")
    # A program of its own: of a fork the parent would have to copy pages as soon as it goes on, and
    # until the kernel has given the child's memory back it would be killed for that.
    script = "held = [b'x' * (8 << 20) for _ in range(500)]"
    subprocess.run([sys.executable, "-c", script], check=False)
    if params.then == "hang":
        time.sleep(600)
    raise RuntimeError("the child is gone")


class HoldParams(Params):
    keep_mb: int = 0
    take_mb: int = 0
    seconds: float = 0.0


_kept = []


@fault("hold_memory", title="Take memory; keep some for ever")
def hold_memory(context: Context, params: HoldParams) -> dict:
    note(params, "hold_memory")
    _kept.append(b"x" * (params.keep_mb << 20))
    taken = b"x" * (params.take_mb << 20)
    time.sleep(params.seconds)
    return {"held": len(taken)}


class ChildParams(Params):
    then: Literal["hang", "return", "die"] = "hang"


@fault("forks_setsid_child", title="Leave a daemon behind, deaf to SIGTERM")
def forks_setsid_child(context: Context, params: ChildParams) -> dict:
    between = os.fork()
    if between == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            note(params, "child")
            time.sleep(600)
        os._exit(0)
    os.waitpid(between, 0)
    while params.ledger and not Path(params.ledger).exists():
        time.sleep(0.002)
    note(params, "parent")
    if params.then == "hang":
        time.sleep(600)
    if params.then == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return {}


class CrowdParams(Params):
    n_children: int = 20


@fault("forks_crowd", title="Fork children that fork children")
def forks_crowd(context: Context, params: CrowdParams) -> dict:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(params.n_children):
        if os.fork() == 0:
            os.setsid()
            os.fork()
            note(params, "crowd")
            time.sleep(600)
            os._exit(0)
    time.sleep(600)
    return {}


class BombParams(Params):
    limit: int = 1000
    n_most: int = 2000


@fault("fork_bomb", title="Fork without end")
def fork_bomb(context: Context, params: BombParams) -> dict:
    """Every process forks and forks, whatever is refused. The deed is done when there are more
    than `limit`; `n_most` bounds it where nothing else does.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    born = mmap.mmap(-1, params.n_most)  # a byte each: no process writes over another's
    is_done = mmap.mmap(-1, 1)
    while (n := born[:].count(1)) < params.n_most - 100:
        is_refused = False
        try:
            if os.fork() == 0:
                born[os.getpid() % params.n_most] = 1
        except OSError:
            is_refused = True
        if (is_refused or n >= params.limit) and not is_done[0]:
            is_done[0] = 1
            note(params, "fork_bomb")
    time.sleep(600)
    return {}


@fault("forked_child_returns", title="Fork; the child comes back too")
def forked_child_returns(context: Context, params: Params) -> dict:
    pid = os.fork()
    note(params, "child" if pid == 0 else "parent")
    if pid:
        os.waitpid(pid, 0)
    return {"pid": os.getpid()}


class CloseParams(Params):
    first: int = 3


@fault("closes_descriptors", title="Close what is not its own")
def closes_descriptors(context: Context, params: CloseParams) -> dict:
    note(params, "closes_descriptors")
    os.closerange(params.first, 65536)
    return {}


class LeakParams(Params):
    n: int = 100
    seconds: float = 0.0


@fault("leaves_threads", title="Start threads that never end")
def leaves_threads(context: Context, params: LeakParams) -> dict:
    note(params, "leaves_threads")
    for _ in range(params.n):
        threading.Thread(target=threading.Event().wait).start()
    time.sleep(params.seconds)
    return {"threads": threading.active_count()}


@fault("does_without", title="Start more threads than it may, and do the work with fewer")
def does_without(context: Context, params: LeakParams) -> dict:
    is_over = threading.Event()
    threads = [threading.Thread(target=is_over.wait) for _ in range(params.n)]
    n_started = 0
    for thread in threads:
        with contextlib.suppress(RuntimeError):
            thread.start()
            n_started += 1
    deadline = time.monotonic() + params.seconds
    while time.monotonic() < deadline:
        pass
    is_over.set()
    for thread in threads[:n_started]:
        thread.join()
    return {"threads": n_started}


_open_files = []


@fault("leaves_files_open", title="Open files and never close them")
def leaves_files_open(context: Context, params: LeakParams) -> dict:
    note(params, "leaves_files_open")
    _open_files.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(params.n))
    return {"pid": os.getpid(), "files": len(os.listdir("/proc/self/fd"))}


class WorkdirParams(Params):
    is_killed: bool = False


@fault("uses_workdir", title="Write into the private folder")
def uses_workdir(context: Context, params: WorkdirParams) -> dict:
    note(params, str(context.workdir))
    (context.workdir / "part.bin").write_bytes(b"x" * 1000)
    if params.is_killed:
        os.kill(os.getpid(), signal.SIGKILL)
    return {}


class ProgressParams(Params):
    n_steps: int = 5
    step_s: float = 0.15


@fault("progress", title="Tell progress")
def progress(context: Context, params: ProgressParams) -> dict:
    note(params, "progress")
    for step in range(params.n_steps):
        context.progress(step + 1, params.n_steps, f"第{step + 1}步")
        time.sleep(params.step_s)
    context.metric("steps", params.n_steps)
    return {}


@fault("leaves_mess", title="Change what the next task sees")
def leaves_mess(context: Context, params: Params) -> dict:
    note(params, "leaves_mess")
    os.chdir("/")
    os.environ["LEFT_BEHIND"] = "1"
    os.environ["HOME"] = "/nowhere"
    os.environ["OMP_NUM_THREADS"] = "7"
    del os.environ["PATH"]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return {"pid": os.getpid()}


class _Deafening:
    def __del__(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


@fault("deafens_late", title="Raise, and ignore SIGTERM when the error is forgotten")
def deafens_late(context: Context, params: Params) -> dict:
    note(params, "deafens_late")
    kept = _Deafening()
    raise ValueError(f"with {kept}")


@fault("look_around", title="Tell what the surroundings are")
def look_around(context: Context, params: Params) -> dict:
    note(params, "look_around")
    return {
        "pid": os.getpid(),
        "cwd": os.getcwd(),
        "left_behind": os.environ.get("LEFT_BEHIND", ""),
        "home": os.environ.get("HOME", ""),
        "path": os.environ.get("PATH", ""),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "is_deaf": signal.getsignal(signal.SIGTERM) is signal.SIG_IGN,
    }
