"""Looks at process trees in /proc: descendants, memory, what a dead pool left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator

_FREEZE_LIMIT_S = 1.0
_NEEDS_MORE_TIME = (b"R", b"D")
"""States of a thread that runs or waits for a core, and of one that waits for a disk."""


def _numbers(path: str) -> list[int]:
    try:
        with open(path) as file:
            return [int(word) for word in file.read().split()]
    except OSError:  # the process ended meanwhile
        return []


def _read_stat(path: str) -> list[bytes]:
    """Read the fields after the name, which may hold blanks itself; none when it has ended."""
    try:
        with open(path, "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _parent_of(pid: int) -> int:
    fields = _read_stat(f"/proc/{pid}/stat")
    return int(fields[1]) if fields else 0


def name_of(pid: int) -> str:
    """Tell what a process calls itself; empty when it has ended."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def all_pids() -> list[int]:
    """List every process that is visible here."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _children_by_scan(pid: int) -> list[int]:
    return [other for other in all_pids() if _parent_of(other) == pid]


_KERNEL_LISTS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def children_of(pid: int) -> list[int]:
    """List direct children of a process, with dead ones that nobody has waited for."""
    if not _KERNEL_LISTS_CHILDREN:
        return _children_by_scan(pid)
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += _numbers(f"/proc/{pid}/task/{thread}/children")
    return found


def descendants_of(pid: int) -> list[int]:
    """List all descendants of a process, parents before children."""
    found: list[int] = []
    pending = [pid]
    while pending:
        children = children_of(pending.pop())
        found += children
        pending += children
    return found


def send_signal(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal each process that still lives; what may not be signalled is left alone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def count_tasks(pids: Iterable[int]) -> int:
    """Count the threads of processes, of which each has one at least; the dead count until they
    have been waited for.
    """
    return sum(_count_threads(pid) for pid in pids)


def _count_threads(pid: int) -> int:
    fields = _read_stat(f"/proc/{pid}/stat")
    return int(fields[17]) if fields else 0


def is_asleep(pids: Iterable[int]) -> bool:
    """Whether no thread of these processes runs, waits for a core or waits for a disk."""
    return not any(state in _NEEDS_MORE_TIME for pid in pids for state in _thread_states(pid))


def _thread_states(pid: int) -> Iterator[bytes]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:  # it ended meanwhile
        return
    for thread in threads:
        if fields := _read_stat(f"/proc/{pid}/task/{thread}/stat"):
            yield fields[0]


def kill_trees(roots: Iterable[int]) -> None:
    """SIGKILL children of this process with all their descendants.

    Their process groups are killed at one blow, which no fork outruns. What has left them is
    stopped first, until no new descendant shows up: so not even a process that forks all the time
    can outrun the kill, and no number can be given to another process meanwhile. What becomes an
    orphan before it was found becomes a child of this process.
    """
    stopped = set(roots)
    for root in stopped:
        _kill_group_of(root)
    send_signal(stopped, signal.SIGSTOP)
    seen = {(root, os.getpid()) for root in stopped}
    deadline = time.monotonic() + _FREEZE_LIMIT_S
    fresh = set(stopped)
    while time.monotonic() < deadline:
        # A generation at a time; at the end all again, for an orphan goes to an ancestor.
        found = _find_children(fresh, seen) or _find_children(stopped, seen)
        if not found:
            break
        seen |= found
        fresh = {pid for pid, parent in found if _stop_child(pid, parent)}
        stopped |= fresh
    send_signal(stopped, signal.SIGKILL)


def _kill_group_of(pid: int) -> None:
    """Kill the process group of a child that nobody has waited for yet; never our own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        group = os.getpgid(pid)
        if group != os.getpgrp():
            os.killpg(group, signal.SIGKILL)


def _find_children(parents: set[int], seen: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Find children with their parents; one that failed to be stopped may have another by now."""
    return {(child, pid) for pid in parents for child in children_of(pid)} - seen


def _stop_child(pid: int, parent: int) -> bool:
    """Stop a child; False where it has ended, has another parent, or may not be signalled."""
    # The number is checked after the pidfd is open: it then names the process we mean, for good.
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:  # it ended meanwhile
        return False
    try:
        if _parent_of(pid) != parent:
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(pidfd)
    return True


def own_memory_bytes(pid: int) -> int:
    """Count the anonymous and shared memory that a process holds; mapped files do not count, for
    the kernel can drop them.
    """
    return _sum_kib(f"/proc/{pid}/status", ("RssAnon:", "RssShmem:")) * 1024


def proportional_memory_bytes(pid: int) -> int:
    """Count the same, dividing pages that several processes share among them; slower."""
    return _sum_kib(f"/proc/{pid}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:")) * 1024


def _sum_kib(path: str, fields: tuple[str, ...]) -> int:
    try:
        with open(path) as file:
            return sum(int(line.split()[1]) for line in file if line.startswith(fields))
    except OSError:
        return 0


def find_marked(marker: str, arguments: list[str]) -> list[int]:
    """Find what a dead pool left behind: processes that carry its environment marker, or whose
    command line holds all of `arguments` (a child forked without exec keeps its parent's).
    """
    environment = {os.fsencode(marker)}
    command = {os.fsencode(argument) for argument in arguments}
    return [
        pid
        for pid in all_pids()
        if environment <= _entries(pid, "environ") or command <= _entries(pid, "cmdline")
    ]


def _entries(pid: int, name: str) -> set[bytes]:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return set(file.read().split(b"\0"))
    except OSError:  # ended meanwhile, or of another user
        return set()


def ancestors_of(pid: int) -> list[int]:
    """Follow a process to its parent, to its parent, and so on."""
    found: list[int] = []
    while (pid := _parent_of(pid)) > 1:
        found.append(pid)
    return found
