"""What a supervisor does before it serves: environment, lock, the remains of its predecessor."""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import signal
import time
from typing import IO

from executors.local import proctree
from executors.local.options import PoolPaths, PoolSettings
from executors.runtime.threads import announce_threads

log = logging.getLogger(__name__)

_MARKER = "DAGENGINE_POOL"
_LOCK_WAIT_S = 10.0
_FILES_PER_SLOT = 4
_FILES_BESIDES = 512
_USUAL_CPU = 1.0
"""What most tasks ask for: their environment then needs no change, and no putting back."""


def prepare_process(paths: PoolPaths, settings: PoolSettings) -> None:
    """Make the folders, and set what every worker inherits: one thread per numeric library (read
    when it is imported; a task's own limit is set when it runs), and the mark by which a later
    supervisor finds what we leave behind.
    """
    for folder in (paths.run, paths.spool, paths.work):
        os.makedirs(folder, mode=0o700, exist_ok=True)
    os.makedirs(settings.executor.logs, exist_ok=True)
    announce_threads(_USUAL_CPU)
    # A thread of an allocator that nobody uses would run in the template, which must fork.
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    os.environ[_MARKER] = paths.socket
    _allow_files(_FILES_PER_SLOT * settings.n_slots + _FILES_BESIDES)


def _allow_files(n_files: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = n_files if hard == resource.RLIM_INFINITY else min(n_files, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def take_lock(path: str, wait_s: float = _LOCK_WAIT_S) -> IO[str] | None:
    """Take the pool's lock and return the open file that holds it; None when another supervisor
    keeps it. One that is about to stop is waited for.
    """
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - kept open: it holds the lock
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                return None
            time.sleep(0.05)
            continue
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return file


def clear_remains(paths: PoolPaths, settings_path: str) -> None:
    """Kill what descends from a dead supervisor of this pool: its workers died with it, but a
    process that they started may live on.
    """
    arguments = ["executors.local.supervisor", settings_path]
    own = {os.getpid(), *proctree.ancestors_of(os.getpid())}
    for _ in range(20):
        found = set(proctree.find_marked(f"{_MARKER}={paths.socket}", arguments)) - own
        if not found:
            return
        log.warning("remains_killed pids=%s", sorted(found))
        proctree.send_signal(found, signal.SIGKILL)
        time.sleep(0.02)
