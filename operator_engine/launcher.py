"""Starts the processes of a service, keeps them running, and ends them in order."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import logging
import os
import select
import signal
import threading
import time
import types
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from operator_engine.child_process import (
    LOG_LIMIT_BYTES,
    ChildProcess,
    ProcessSpec,
    trim_log,
    write_restarts,
)
from operator_engine.errors import HomeInUseError
from operator_engine.orphans import adopt_orphans, end_orphans, reap

log = logging.getLogger(__name__)

_READY_CHECK_S = 0.03
_STEADY_S = 30.0
_TRIM_EVERY_S = 30.0
_CONFIGURATION_PREFIX = "DAGENGINE__"
_TOKEN_VARIABLE = "DAGENGINE_TOKEN"
_PAUSES_S = (0.0, 0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Restart:
    """A child that died: how, when, and after how many seconds it is started again.

    `exit_code` is negative for a signal, as in `subprocess`.
    """

    name: str
    pid: int
    exit_code: int
    died_at: dt.datetime
    pause_s: float


@dataclass(slots=True)
class _Seat:
    """A child's place: what runs there now, or when it is started again."""

    spec: ProcessSpec
    child: ChildProcess | None = None
    start_at: float = 0.0
    n_deaths: int = 0
    is_ready: bool = False
    is_draining: bool = False
    started: float = field(default=0.0)


class HomeLock:
    """Held by the one launcher that may use a home folder; gone with the process."""

    def __init__(self, home: Path) -> None:
        folder = home / "run"
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "launcher.pid").open("a+", encoding="ascii")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise HomeInUseError(str(home), holder) from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let another launcher use the folder."""
        self._file.truncate(0)
        self._file.close()


def make_child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out what only the configuration reads: passwords, keys and tokens stand in it, and what
    a process inherits its tasks can read. The processes are told what they need by their settings.
    """
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(_CONFIGURATION_PREFIX) and name != _TOKEN_VARIABLE
    }


class Launcher:
    """Runs child processes, each in a session of its own, until it is asked to stop.

    Parameters
    ----------
    specs : list of ProcessSpec
        The processes, in the order in which they are started.
    home : Path
        Logs go to `<home>/logs/services/<name>.log`, process ids to `<home>/run/<name>.pid`.
    grace_s : float
        How long a child may take to end after SIGTERM before it is killed.
    drain_s : float
        How long, at a stop, running tasks may take to end before anything is ended.
    log_limit_bytes : int
        Where a child's log is put aside; three old ones are kept.
    on_ready : callable, optional
        Called once, when the ready checks of all specs have passed.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        home: Path,
        *,
        grace_s: float = 10.0,
        drain_s: float = 0.0,
        log_limit_bytes: int = LOG_LIMIT_BYTES,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self.home = home
        self.restarts: list[Restart] = []
        self._grace_s = grace_s
        self._drain_s = drain_s
        self._log_limit_bytes = log_limit_bytes
        self._trim_at = 0.0
        self._on_ready = on_ready
        self._seats = [_Seat(spec) for spec in specs]
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._n_stop_requests = 0
        self._n_heard = 1
        self.has_hurried = False

    def run(self) -> None:
        """Start all children and keep them running; return when all have ended after a stop.

        Must be called from a thread that lives as long as the service: the children's bond to this
        process is to that thread. In the main thread SIGTERM, SIGINT and SIGHUP ask for the stop,
        each further one waits no longer for what the stop waits for just then, and whatever
        descendant a dead child leaves is killed. Raises `HomeInUseError`.
        """
        lock = HomeLock(self.home)
        is_main = threading.current_thread() is threading.main_thread()
        former = self._take_signals() if is_main else {}
        try:
            if is_main:
                adopt_orphans()
            write_restarts(self.home / "run", {})
            self._supervise()
        finally:
            self._stop_children()
            if is_main:
                signal.set_wakeup_fd(-1)
            for number, handler in former.items():
                signal.signal(number, handler)
            os.close(self._wake_write)
            os.close(self._wake_read)
            lock.release()

    def request_stop(self) -> None:
        """Ask for the stop; may be called from any thread and from a signal handler."""
        self._n_stop_requests += 1
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: it has stopped
            os.write(self._wake_write, b"s")

    def find_pids(self) -> dict[str, int]:
        """Return the process ids of the children that run now."""
        return {seat.spec.name: seat.child.pid for seat in self._seats if seat.child is not None}

    def _take_signals(self) -> dict[int, Callable[[int, types.FrameType | None], object] | int]:
        def on_stop(number: int, frame: types.FrameType | None) -> None:
            self.request_stop()

        def on_child(number: int, frame: types.FrameType | None) -> None:
            """Do nothing: the byte that every signal writes has woken the wait."""

        handlers = {
            signal.SIGTERM: on_stop,
            signal.SIGINT: on_stop,
            signal.SIGHUP: on_stop,
            signal.SIGCHLD: on_child,
        }
        # A handler runs in this thread alone, also where the kernel gave the signal to another.
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        return {
            number: signal.signal(number, handler) or signal.SIG_DFL
            for number, handler in handlers.items()
        }

    def _supervise(self) -> None:
        while not self._n_stop_requests:
            self._start_due()
            self._check_ready()
            next_s = self._next_wake()
            self._wait(_TRIM_EVERY_S if next_s is None else min(next_s, _TRIM_EVERY_S))
            self._collect_dead()
            self._trim_logs()

    def _trim_logs(self) -> None:
        if time.monotonic() < self._trim_at:
            return
        self._trim_at = time.monotonic() + _TRIM_EVERY_S
        for seat in self._seats:
            folder = self.home / "logs" / "services"
            trim_log(folder / f"{seat.spec.name}.log", self._log_limit_bytes)

    def _start_due(self) -> None:
        now = time.monotonic()
        for seat in self._seats:
            if seat.child is None and seat.start_at <= now and not seat.is_draining:
                env = {**make_child_environment(os.environ), **seat.spec.env}
                seat.child = ChildProcess(seat.spec, self.home, env)
                seat.started = now

    def _check_ready(self) -> None:
        for seat in self._seats:
            if seat.child is not None and not seat.is_ready:
                seat.is_ready = seat.spec.is_ready is None or seat.spec.is_ready()
        if self._on_ready is not None and all(seat.is_ready for seat in self._seats):
            on_ready, self._on_ready = self._on_ready, None
            on_ready()

    def _next_wake(self) -> float | None:
        """Return how long nothing need be done; None = until something happens."""
        waits = [
            max(0.0, seat.start_at - time.monotonic())
            for seat in self._seats
            if seat.child is None and not seat.is_draining
        ]
        if self._on_ready is not None and not all(seat.is_ready for seat in self._seats):
            waits.append(_READY_CHECK_S)
        return min(waits, default=None)

    def _wait(self, timeout_s: float | None) -> None:
        """Wait for the death of a child, a signal or a request."""
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        for child in self._find_running():
            poller.register(child.pidfd, select.POLLIN)
        poller.poll(None if timeout_s is None else timeout_s * 1000)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _find_running(self) -> list[ChildProcess]:
        children = [seat.child for seat in self._seats if seat.child is not None]
        return [child for child in children if child.poll() is None]

    def _collect_dead(self) -> None:
        for seat in self._seats:
            child = seat.child
            if child is None:
                continue
            exit_code = child.poll()
            if exit_code is not None:
                child.close()
                seat.child = None
                if not seat.is_draining:
                    self._plan_restart(seat, child.pid, exit_code)
        own = set(self.find_pids().values())
        if any(seat.child is None for seat in self._seats):
            # The pool's workers, say, must not go on beside those of its successor.
            self._end_orphans(own)
        else:
            self._reap(own)

    def _plan_restart(self, seat: _Seat, pid: int, exit_code: int) -> None:
        now = time.monotonic()
        if now - seat.started >= _STEADY_S:
            seat.n_deaths = 0
        pause_s = _PAUSES_S[min(seat.n_deaths, len(_PAUSES_S) - 1)]
        seat.n_deaths += 1
        seat.start_at = now + pause_s
        died_at = dt.datetime.now(dt.UTC)
        self.restarts.append(Restart(seat.spec.name, pid, exit_code, died_at, pause_s))
        counts = Counter(restart.name for restart in self.restarts)
        write_restarts(self.home / "run", dict(counts))
        log.warning(
            "process_died name=%s pid=%d exit_code=%d restart_in_s=%.2f log=%s",
            seat.spec.name,
            pid,
            exit_code,
            pause_s,
            self.home / "logs" / "services" / f"{seat.spec.name}.log",
        )

    def _stop_children(self) -> None:
        """Let tasks end, then end the children in stages: SIGTERM, the grace time, SIGKILL."""
        self._drain()
        deadline = time.monotonic() + self._grace_s
        for stage in sorted({seat.spec.stop_stage for seat in self._seats}):
            children = [seat.child for seat in self._seats if seat.spec.stop_stage == stage]
            self._end_stage([child for child in children if child is not None], deadline)
        for seat in self._seats:
            seat.child = None
        self._end_orphans(set())

    def _drain(self) -> None:
        """Let tasks end; whatever else dies meanwhile is still needed, and started again."""
        for seat in self._seats:
            if seat.spec.is_drained and seat.child is not None:
                seat.is_draining = True
                seat.child.drain()
        deadline = time.monotonic() + self._drain_s
        while any(seat.child is not None and seat.spec.ends_drained for seat in self._seats):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or self._is_urged():
                return
            self._start_due()
            next_s = self._next_wake()
            self._wait(left_s if next_s is None else min(left_s, next_s))
            self._collect_dead()

    def _end_stage(self, children: list[ChildProcess], deadline: float) -> None:
        for child in children:
            child.terminate()
        self._await_end(children, deadline)
        for child in children:
            if child.poll() is None:
                log.warning("process_killed name=%s pid=%d", child.name, child.pid)
            child.kill()
            child.close()

    def _await_end(self, children: list[ChildProcess], deadline: float) -> None:
        """Wait until they have ended, the deadline is over, or a stop is asked for once more."""
        while any(child.poll() is None for child in children):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or self._is_urged():
                return
            self._wait(left_s)

    def _is_urged(self) -> bool:
        """Tell whether a stop was asked for again; each further request ends one wait."""
        if self._n_stop_requests <= self._n_heard:
            return False
        self._n_heard += 1
        self.has_hurried = True
        return True

    def _end_orphans(self, own: set[int]) -> None:
        if threading.current_thread() is threading.main_thread():
            end_orphans(own)

    def _reap(self, own: set[int]) -> None:
        if threading.current_thread() is threading.main_thread():
            reap(own)
