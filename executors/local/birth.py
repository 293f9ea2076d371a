"""What a forked process does first: it lets go of its parent's things, and cannot outlive it."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import sys
import time

from executors.local import linux

_OOM_SCORE = 500
_ADOPTION_DEADLINE_S = 10.0


def leave_parent(kept_fd: int, supervisor_pid: int, between_pid: int = 0) -> None:
    """Keep one socket of all that was inherited; own session, default signals, no stdin; die when
    the supervisor dies.

    `between_pid` is the process that forked this one and is about to end, where that is not the
    supervisor.
    """
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    linux.close_all_but({kept_fd})
    with contextlib.suppress(PermissionError):  # the leader of a session already
        os.setsid()
    _await_end(between_pid)
    linux.die_with_parent(supervisor_pid)
    linux.offer_to_oom_killer(_OOM_SCORE)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    logging.root.handlers.clear()


def _await_end(between_pid: int) -> None:
    # Then this is a child of the supervisor, or of somebody else where that has died meanwhile.
    deadline = time.monotonic() + _ADOPTION_DEADLINE_S
    while between_pid and os.getppid() == between_pid:
        if time.monotonic() > deadline:
            os._exit(1)
        time.sleep(0.0002)


def draw_own_random_numbers() -> None:
    """Give this process its own random numbers: a fork would repeat its siblings'."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
