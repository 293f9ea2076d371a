"""Who a process is, so that a successor can tell a stopped leader from a stranger with its pid."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from pathlib import Path

_KILL_WAIT_MS = 2_000
_N_HOST_PARTS = 3


def this_host() -> str:
    """Name this machine, its present boot and the pid namespace: where a pid means something."""
    parts = [socket.gethostname()]
    for read in (_read_boot_id, _read_pid_namespace):
        with contextlib.suppress(OSError):
            parts.append(read())
    return " ".join(parts)[:255]


def _read_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _read_pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def started_at(pid: int) -> int:
    """Tell when a process started, in the kernel's ticks; 0 if there is no such process."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    # The name in the second field may hold spaces and brackets, so count from its end.
    return int(status.rpartition(")")[2].split()[19])


def is_surely_dead(host: str, pid: int, started: int) -> bool:
    """Tell whether a process is known to be gone: it ran where we run, and no longer does.

    Without boot and namespace in the host's name nothing is known: machines may share a name.
    """
    is_here = host == this_host() and len(host.split()) == _N_HOST_PARTS
    return is_here and bool(pid and started) and started_at(pid) != started


def kill_process(pid: int, started: int) -> bool:
    """Kill exactly the process that bore this pid and start; true once it is gone."""
    if pid <= 1 or pid == os.getpid() or not started:
        return False
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if started_at(pid) != started:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        return bool(poller.poll(_KILL_WAIT_MS))
    except OSError:
        return False
    finally:
        os.close(handle)
