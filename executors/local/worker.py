"""A worker: takes one task after the other from its supervisor, and does nothing else."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import faulthandler
import gc
import importlib
import io
import math
import os
import resource
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

import msgspec

from executors.bare_signals import DEFAULT, get_handler, set_handler
from executors.base import ExecutorSettings, Outcome, Task
from executors.local import birth, linux, options, proctree
from executors.local.attempt_log import AttemptLog
from executors.local.confinement import Confinement
from executors.local.messages import WorkerWord
from executors.local.unnamed_logs import UnnamedLogs
from executors.runtime.output_mask import flush_all_output
from executors.runtime.threads import THREAD_VARIABLES
from executors.transport.frames import READ_SIZE, FrameDecoder, encode_frame

Runner = Callable[
    [Task, ExecutorSettings, Callable[[Outcome], None], Callable[[], bool]],
    Outcome,
]

_OUTCOME_LIMIT_BYTES = 4 * 1024 * 1024
_PROGRESS_EVERY_S = 0.1
_NEEDED_BY_ALL = "pydantic.main"
_FILES_LEFT = 64
"""So many files may tasks leave open before their worker is replaced."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

_encode = msgspec.json.Encoder().encode
_decode_task = msgspec.json.Decoder(Task).decode


def worker_main(
    sock: socket.socket,
    settings: options.PoolSettings,
    supervisor_pid: int,
    between_pid: int = 0,
) -> NoReturn:
    """Be a worker; for a process that was just forked, by `between_pid` if not the supervisor."""
    try:
        birth.leave_parent(sock.fileno(), supervisor_pid, between_pid)
        Worker(sock, settings).run()
    except BaseException:  # noqa: BLE001 - nothing above may run in a forked process
        traceback.print_exc()
    os._exit(1)


class Worker:
    """One worker process.

    Whatever a task leaves changed that could hurt the next one is put back, or the worker asks to
    be replaced.
    """

    def __init__(self, sock: socket.socket, settings: options.PoolSettings) -> None:
        self._sock = sock
        self._settings = settings
        self._pid = os.getpid()
        self._name = f"{socket.gethostname()}:{self._pid}"
        self._decoder = FrameDecoder()
        self._send_lock = threading.Lock()
        self._runner: Runner | None = None
        self._progress_at = 0.0
        self._attempt_id = ""
        self._n_tasks = 0
        self._cwd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._environ = dict(os.environ)
        self._raw_environ = dict(_raw_environ())
        paths = options.PoolPaths(settings.executor.home, settings.name)
        self._work = paths.work
        self._base_bytes = 0
        self._first_free = 0.0
        logs = settings.executor.logs
        self._log = AttemptLog(logs, UnnamedLogs(logs, paths.socket))
        self._confinement = Confinement(settings)

    def run(self) -> NoReturn:
        """Take tasks until the supervisor closes the socket."""
        self._prepare()
        self._send(WorkerWord(kind="ready", pid=self._pid))
        self._load_runner()
        if self._settings.options.preload:
            with contextlib.suppress(Exception):  # a task that needs it says what is wrong
                importlib.import_module(_NEEDED_BY_ALL)
        self._base_bytes = proctree.own_memory_bytes(self._pid)
        self._first_free = self._find_free_number()
        gc.collect()
        gc.freeze()
        while True:
            data = self._receive()
            if not data:
                os._exit(0)
            for payload in self._decoder.feed(data):
                self._send(self._run_task(_decode_task(payload)))

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(READ_SIZE)
        except ConnectionResetError:  # the supervisor is gone
            return b""

    def _prepare(self) -> None:
        linux.adopt_orphans()
        self._confinement.begin()
        linux.write_c_output_by_lines()
        birth.draw_own_random_numbers()
        os.register_at_fork(after_in_child=self._sock.close)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        faulthandler.enable(file=2)

    def _load_runner(self) -> str:
        """Import the function that runs attempts; return the traceback if that fails."""
        if self._runner is None:
            module, _, name = self._settings.runner.partition(":")
            try:
                self._runner = getattr(importlib.import_module(module), name)
            except Exception:  # noqa: BLE001 - told as the outcome of each task
                return traceback.format_exc()
        return ""

    # --- one task ---------------------------------------------------------------------------------

    def _run_task(self, task: Task) -> WorkerWord:
        self._attempt_id = task.attempt_id
        self._progress_at = 0.0
        self._n_tasks += 1
        started_at = dt.datetime.now(dt.UTC)
        try:
            self._log.begin(task.attempt_id)
        except OSError as error:
            outcome = self._log_failure(task, error)
        else:
            self._confinement.enter(task)
            outcome = self._run_runner(task)
        if os.getpid() != self._pid:  # a child that the algorithm forked came back here
            os._exit(0)
        outcome, retire = self._confinement.leave(outcome, self._clean_up(task))
        log_bytes = self._log.end(may_be_reused=not retire)
        outcome = msgspec.structs.replace(
            outcome,
            started_at=outcome.started_at or started_at,
            ended_at=outcome.ended_at or dt.datetime.now(dt.UTC),
            worker=self._name,
            log_bytes=log_bytes,
        )
        return WorkerWord(
            kind="end",
            attempt_id=task.attempt_id,
            outcome=msgspec.Raw(self._encode_outcome(outcome)),
            retire=retire,
            log_bytes=log_bytes,
            cgroup_error=self._confinement.take_error(),
            log_error=self._log.take_error(),
        )

    @staticmethod
    def _log_failure(task: Task, error: OSError) -> Outcome:
        return Outcome(
            attempt_id=task.attempt_id,
            kind="ended",
            state="failed",
            reason="disk_full" if error.errno in _DISK_FULL else "error",
            message=f"The attempt's log cannot be opened: {error}.",
            hint="Free space, or check the rights of the folder of logs.",
        )

    def _run_runner(self, task: Task) -> Outcome:
        if task.resources.gpu > 0:
            return Outcome(
                attempt_id=task.attempt_id,
                kind="ended",
                state="failed",
                reason="invalid_input",
                message=f"It asks for {task.resources.gpu:g} GPU, and the local pool has none.",
                hint="Leave run.resources.gpu out, or name an executor that has GPUs.",
            )
        failure = self._load_runner()
        if self._runner is not None:
            try:
                return self._runner(task, self._settings.executor, self._tell, _is_cancelled)
            except BaseException:  # noqa: BLE001 - a task must not take its worker's loop down
                failure = traceback.format_exc()
        return Outcome(
            attempt_id=task.attempt_id,
            kind="ended",
            state="failed",
            reason="error",
            message=f"The attempt could not be run: {failure.strip().rpartition(chr(10))[2]}",
            traceback=failure,
        )

    def _encode_outcome(self, outcome: Outcome) -> bytes:
        encoded = _encode(outcome)
        if len(encoded) <= _OUTCOME_LIMIT_BYTES:
            return encoded
        return _encode(
            msgspec.structs.replace(
                outcome,
                state="failed",
                reason="invalid_output",
                message=f"The outcome is {len(encoded)} bytes long; at most "
                f"{_OUTCOME_LIMIT_BYTES} are told.",
                hint="Give large results as a table, model or file, and record fewer metrics.",
                traceback="",
                outputs=[],
                metrics={},
                progress=None,
            )
        )

    def _tell(self, outcome: Outcome) -> None:
        """Pass progress on, not too often; the rest of the throttling is the supervisor's."""
        now = time.monotonic()
        if outcome.kind != "progress" or os.getpid() != self._pid:
            return
        if now - self._progress_at < _PROGRESS_EVERY_S:
            return
        self._progress_at = now
        word = WorkerWord(
            kind="progress", attempt_id=self._attempt_id, outcome=msgspec.Raw(_encode(outcome))
        )
        self._send(word)

    def _send(self, word: WorkerWord) -> None:
        frame = encode_frame(_encode(word))
        with self._send_lock:
            self._sock.sendall(frame)

    # --- after a task -----------------------------------------------------------------------------

    def _clean_up(self, task: Task) -> str:
        """Put back what the task may have changed; return why this worker should be replaced."""
        is_output_sound = self._flush_output()
        signal.alarm(0)
        if get_handler(signal.SIGTERM) != DEFAULT:
            set_handler(signal.SIGTERM, DEFAULT)
        os.fchdir(self._cwd)
        self._put_environment_back()
        folder = os.path.join(self._work, task.attempt_id)
        if os.path.lexists(folder):
            shutil.rmtree(folder, ignore_errors=True)
        if not is_output_sound:
            return "output"
        if has_children():
            return "children"
        if _has_left_threads():
            return "threads"
        if self._find_free_number() > self._first_free + _FILES_LEFT:
            return "files"
        if self._n_tasks >= self._settings.options.max_tasks_per_worker:
            return "age"
        return "memory" if self._has_grown() else ""

    def _put_environment_back(self) -> None:
        """Undo what the task changed; the numbers of threads stay, most tasks have the same."""
        if _raw_environ() == self._raw_environ:
            return
        for name in os.environ.keys() - self._environ.keys() - set(THREAD_VARIABLES):
            del os.environ[name]
        for name, value in self._environ.items():
            if name not in THREAD_VARIABLES and os.environ.get(name) != value:
                os.environ[name] = value
        self._raw_environ = dict(_raw_environ())

    def _find_free_number(self) -> float:
        """Find the number that the next file would get, which tells how many are open for a tenth
        of what counting them costs; infinite where not one more can be opened.
        """
        try:
            free = os.dup(self._sock.fileno())
        except OSError:
            return math.inf
        os.close(free)
        return free

    def _flush_output(self) -> bool:
        is_ours = sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__
        return flush_all_output() and is_ours

    def _has_grown(self) -> bool:
        # The peak is cheap to read; only if it is high, what is held now is looked up.
        limit_bytes = self._base_bytes + self._settings.options.max_growth_mb * 1024 * 1024
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return peak_bytes > limit_bytes and proctree.own_memory_bytes(self._pid) > limit_bytes


def _raw_environ() -> dict[bytes, bytes]:
    # Comparing through the mapping's face decodes every variable, after every task.
    raw: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]  # stable since 3.9
    return raw


def _is_cancelled() -> bool:
    # A cancel or timeout comes as SIGTERM, which ends the attempt wherever it is.
    return False


def has_children() -> bool:
    """Whether a child still lives; dead ones are waited for. Orphans of our children are ours."""
    try:
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
            pass
    except ChildProcessError:
        return False
    return True


def _has_left_threads() -> bool:
    # fsspec keeps one thread for its event loop; it writes nothing and serves the next task.
    if threading.active_count() == 1:
        return False
    main = threading.main_thread()
    return any(
        thread is not main and not thread.name.startswith("fsspec")
        for thread in threading.enumerate()
    )
