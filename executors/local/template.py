"""The template process: imports what algorithms need, once, and forks workers that have it."""

from __future__ import annotations

import gc
import importlib
import os
import socket
import sys
import threading
import time
import traceback
from typing import NoReturn

import msgspec

from executors.local import birth
from executors.local.messages import TemplateWord, WorkerWord
from executors.local.options import PoolSettings
from executors.local.worker import worker_main
from executors.transport.frames import encode_frame

_NICENESS = 10


def template_main(sock: socket.socket, settings: PoolSettings, supervisor_pid: int) -> NoReturn:
    """Be the template; for a process that was just forked."""
    try:
        birth.leave_parent(sock.fileno(), supervisor_pid)
        sock.setblocking(True)
        word = _preload(settings.options.preload)
        sock.sendall(encode_frame(msgspec.json.encode(word)))
        while True:
            _serve(sock, settings, supervisor_pid)
    except BaseException:  # noqa: BLE001 - nothing above may run in a forked process
        traceback.print_exc()
    os._exit(1)


def _preload(modules: list[str]) -> TemplateWord:
    """Import only: nothing is run, so that no thread pool exists when workers are forked."""
    begun = time.monotonic()
    failed: dict[str, str] = {}
    importer = threading.Thread(target=_import_modestly, args=(modules, failed))
    importer.start()
    importer.join()
    gc.collect()
    gc.freeze()  # children then do not write to the pages that they share with us
    return TemplateWord(
        seconds=round(time.monotonic() - begun, 3),
        n_threads=len(os.listdir("/proc/self/task")),
        failed=failed,
    )


def _import_modestly(modules: list[str], failed: dict[str, str]) -> None:
    """Import at a lower priority than whatever else starts just now.

    The priority belongs to this thread and ends with it; a process could not take it back.
    """
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever a module raises, workers go without it
            failed[name] = f"{type(error).__name__}: {error}"


def _serve(sock: socket.socket, settings: PoolSettings, supervisor_pid: int) -> None:
    """Fork one worker for the socket that comes, by way of a process that ends at once, so that
    the worker becomes a child of the supervisor.
    """
    data, fds, _, _ = socket.recv_fds(sock, 1, 1)
    if not data:
        os._exit(0)
    with socket.socket(fileno=fds[0]) as channel:
        try:
            between = os.fork()
        except OSError as error:  # the supervisor sees the closed socket and helps itself
            sys.stderr.write(f"template_fork_failed error={error}\n")
            return
        if between == 0:
            _fork_worker(channel, settings, supervisor_pid)
        os.waitpid(between, 0)


def _fork_worker(channel: socket.socket, settings: PoolSettings, supervisor_pid: int) -> NoReturn:
    between = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            worker_main(channel, settings, supervisor_pid, between)
        # Told before we end: when the worker becomes the supervisor's child, its pid is known.
        channel.sendall(encode_frame(msgspec.json.encode(WorkerWord(kind="born", pid=pid))))
    finally:
        os._exit(0)
