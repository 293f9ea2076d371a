"""The few system calls that Python does not offer: what a pool needs of Linux."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINE_BUFFERED = 1


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies; exit at once if it is dead already.

    The signal is sent when the *thread* that forked us ends, so only a single-threaded parent may
    be relied on.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def write_c_output_by_lines() -> None:
    """Have C libraries write their stdout line by line, so that a log can be followed."""
    with contextlib.suppress(ValueError):  # a C library without the symbol `stdout`
        stdout = ctypes.c_void_p.in_dll(_libc, "stdout")
        _libc.setvbuf(stdout, None, _LINE_BUFFERED, 0)


def offer_to_oom_killer(score: int) -> None:
    """Make the kernel prefer this process when memory runs out, so that the engines live on."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(score))


def close_all_but(kept: set[int]) -> None:
    """Close every file descriptor above stderr except `kept`."""
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def count_kernel_oom_kills() -> int:
    """How many processes of the whole machine the kernel has killed for want of memory."""
    with contextlib.suppress(OSError, ValueError), open("/proc/vmstat") as file:
        for line in file:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
