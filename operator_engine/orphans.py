"""Finds and ends what a dead child process has left behind."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable, Container
from pathlib import Path

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SWEEP_S = 2.0
_SWEEP_PAUSE_S = 0.01
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def make_death_bond(death_signal: int) -> Callable[[], None]:
    """Make what a child calls before its program starts: it gets the signal when this process
    ends, however it ends.

    The bond is to the thread that starts the child, so that thread must live on.
    """
    parent = os.getpid()

    def bind() -> None:
        _prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # the parent died before the bond was made

    return bind


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def find_children() -> list[int]:
    """Return the process ids of this process's present children."""
    parent = os.getpid()
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [pid for pid in pids if _read_parent(pid) == parent]


def end_orphans(own: Container[int]) -> int:
    """Kill and reap every child that is not in `own`, and what they leave in turn; return how
    many.
    """
    n_ended = 0
    deadline = time.monotonic() + _SWEEP_S
    while time.monotonic() < deadline:
        orphans = [pid for pid in find_children() if pid not in own]
        if not orphans:
            break
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        n_ended += reap(own)
        time.sleep(_SWEEP_PAUSE_S)
    if n_ended:
        log.info("orphans_ended n=%d", n_ended)
    return n_ended


def reap(own: Container[int]) -> int:
    """Collect dead children that are not in `own`; return how many."""
    n_reaped = 0
    for pid in find_children():
        if pid not in own:
            with contextlib.suppress(ChildProcessError):
                n_reaped += os.waitpid(pid, os.WNOHANG)[0] == pid
    return n_reaped


def _read_parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # The name in parentheses may hold blanks and parentheses itself.
    return int(stat.rpartition(")")[2].split()[1])
