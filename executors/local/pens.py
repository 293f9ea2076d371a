"""Limits of processes kept by the kernel: a cgroup for each worker.

A worker enters its own before its first task and stays in it, so that a task pays nothing. All
that its tasks start is inside too, threads included, and where the limit is reached no more can be
started: a fork bomb fills its own pen and nobody else's table of processes.

Version 1 of cgroups and version 2 are served, as with memory (`executors.local.cgroups`). With
version 2 an attempt that has a memory limit leaves the pen for its own cgroup, which then has the
same limit of processes.
"""

from __future__ import annotations

import contextlib
import logging
import os

import msgspec

from executors.local import cgroups
from executors.local.errors import CgroupsUnusableError

log = logging.getLogger(__name__)

_LIMIT = "pids.max"
_EVENTS = "pids.events"
_NOW = "pids.current"
_PEAK = "pids.peak"

HINT = "Let it start fewer processes and threads, or raise max_processes of the executor."


class Pens(msgspec.Struct, frozen=True, kw_only=True):
    """The cgroups of one pool's workers, below `folder`; each may hold `limit` processes and
    threads.
    """

    version: int
    folder: str
    limit: int

    def path(self, worker_pid: int) -> str:
        """Path of a worker's cgroup."""
        return os.path.join(self.folder, f"worker-{worker_pid}")

    def has(self, worker_pid: int) -> bool:
        """Whether the worker has entered its own."""
        return os.path.isdir(self.path(worker_pid))

    def enter(self, worker_pid: int) -> None:
        """Move this process, which is that worker, into a cgroup of its own. Raises OSError, and
        then leaves none behind.
        """
        path = self.path(worker_pid)
        if os.path.isdir(path):  # of a dead worker that had the same number, with its counters
            cgroups.remove_folder(path)
        cgroups.make_group(path)
        try:
            cgroups.write_file(os.path.join(path, _LIMIT), str(self.limit))
            cgroups.write_file(os.path.join(path, cgroups.PROCS), "0")
        except OSError:
            with contextlib.suppress(OSError):
                cgroups.remove_group(path)
            raise

    # --- for the supervisor -----------------------------------------------------------------------

    def count_refusals(self, worker_pid: int) -> int:
        """Count how often the kernel has refused to start something for want of room in it."""
        return count_refusals(self.path(worker_pid), self.limit)

    def kill(self, worker_pid: int) -> None:
        """Kill all that is in it, to the last: nothing more can be started meanwhile."""
        cgroups.kill_members(self.path(worker_pid))

    def remove(self, worker_pid: int) -> bool:
        """Remove the cgroup of a dead worker, and kill what is in it; False while it cannot be
        removed.
        """
        return cgroups.remove_with_members(self.path(worker_pid))

    def close(self) -> None:
        """Remove all, for a supervisor that stops."""
        cgroups.remove_folder(self.folder)


def open_refusals(path: str) -> int:
    """Open the file of a cgroup that changes whenever the kernel has refused to start something."""
    return os.open(os.path.join(path, _EVENTS), os.O_RDONLY | os.O_CLOEXEC)


def count_refusals(path: str, limit: int) -> int:
    """Count how often the kernel has refused to start something in a cgroup that has this limit.

    It also counts there what was refused for the limit of a cgroup above, such as a container's:
    where this one was never full, that is no fault of who is in it.
    """
    n_refused = cgroups.read_counters(os.path.join(path, _EVENTS)).get("max", 0)
    return n_refused if n_refused and _was_full(path, limit) else 0


def _was_full(path: str, limit: int) -> bool:
    peak = cgroups.read_number(os.path.join(path, _PEAK))
    if not peak:  # a kernel before 6.1 cannot tell
        return True
    # The kernel may miss a peak when two processes start at once.
    return max(peak, cgroups.read_number(os.path.join(path, _NOW))) >= limit


def limit_sentence(limit: int) -> str:
    """Say that an attempt was ended by its limit."""
    return f"The attempt needed more than its limit of {limit} processes and threads at once."


def open_pens(pool: str, identity: str, limit: int, *, is_wanted: bool) -> Pens | None:
    """Make the folder of cgroups of a pool's workers and remove those that a dead supervisor left.

    Nothing here is an error: where the kernel cannot keep limits of processes, None is returned and
    one line of the log says why; they are then kept by watching alone.

    Parameters
    ----------
    pool, identity, is_wanted : str, str, bool
        See `executors.local.cgroups.open_cages`.
    limit : int
        How many processes and threads an attempt may have at once, its worker included.
    """
    if not is_wanted:
        log.info("process_limits kept_by=watching why='switched off by the option cgroups'")
        return None
    prefix = cgroups.folder_prefix(pool, identity, "pids")
    try:
        own = cgroups.find_own_place("pids")
        base = cgroups.find_base(own, "pids")
        cgroups.remove_left(base, prefix)
        folder = os.path.join(base, f"{prefix}{os.getpid()}")
        pens = Pens(version=own.version, folder=folder, limit=limit)
        _try_out(pens)
    except (OSError, CgroupsUnusableError) as error:
        log.info("process_limits kept_by=watching why=%r", str(error))
        return None
    log.info("process_limits kept_by=cgroups version=%d folder=%s", pens.version, folder)
    return pens


def _try_out(pens: Pens) -> None:
    """Make the folder, after a trial that a limit can be set in it. Raises OSError."""
    cgroups.make_group(pens.folder)
    try:
        if pens.version == 2:
            cgroups.add_controller(pens.folder, "pids")
        trial = os.path.join(pens.folder, "probe")
        cgroups.make_group(trial)
        cgroups.write_file(os.path.join(trial, _LIMIT), str(pens.limit))
        os.close(open_refusals(trial))  # kernels before 4.19 have none
        cgroups.remove_group(trial)
    except OSError:
        pens.close()
        raise
