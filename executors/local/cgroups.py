"""Memory limits kept by the kernel: a cgroup for each attempt that has a limit.

The supervisor makes one folder of cgroups at its start, where it may; a worker that is to run an
attempt with a limit makes a cgroup in it, enters, and leaves when the attempt has ended. It does so
itself because entering can wait for the kernel for milliseconds, which must not hold up other
attempts. Whatever the attempt starts is inside too. What the worker held before stays charged to
the supervisor's own cgroup.

Version 1 of cgroups and version 2 are served. Attempts without a limit pay nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import signal
import time
from typing import Literal

import msgspec

log = logging.getLogger(__name__)

_PROCS = "cgroup.procs"
_SUBTREE = "cgroup.subtree_control"
_PROBE = "probe"
_PROBE_LIMIT_MB = 64
_LIMIT_SLACK_BYTES = 1024 * 1024
_N_REMOVALS = 50
_REMOVAL_PAUSE_S = 0.01

HINT = "Raise run.resources.memory_mb of the operator, or give it smaller inputs."

Killing = Literal["", "limit", "elsewhere"]


class CgroupsUnusableError(Exception):
    """No cgroups with memory limits can be made here."""


class Place(msgspec.Struct, frozen=True):
    """The memory cgroup of a process: version of the hierarchy, where it is mounted, the path."""

    version: int
    mount: str
    path: str


class Cages(msgspec.Struct, frozen=True, kw_only=True):
    """The cgroups of one pool.

    `own` is the cgroup of the supervisor, to which workers return; `folder` holds those of the
    attempts.
    """

    version: int
    own: str
    folder: str

    def path(self, attempt_id: str) -> str:
        """Path of an attempt's cgroup."""
        return os.path.join(self.folder, attempt_id)

    def has(self, attempt_id: str) -> bool:
        """Whether the attempt has a cgroup at this moment."""
        return os.path.isdir(self.path(attempt_id))

    # --- for workers ------------------------------------------------------------------------------

    def enter(self, attempt_id: str, limit_mb: int) -> None:
        """Move this process into a new cgroup with the limit. Raises OSError; it then stays."""
        path = self.path(attempt_id)
        make_group(path)
        try:
            _set_limit(self.version, path, limit_mb)
            _write(os.path.join(path, _PROCS), "0")
        except OSError:
            with contextlib.suppress(OSError):
                remove_group(path)
            raise

    def leave(self, attempt_id: str) -> bool:
        """Move this process back and remove the cgroup, unless children are in it still; False
        when the process could not leave.
        """
        try:
            _write(os.path.join(self.own, _PROCS), "0")
        except OSError:
            return False
        with contextlib.suppress(OSError):
            remove_group(self.path(attempt_id))
        return True

    # --- for the supervisor -----------------------------------------------------------------------

    def killing(self, attempt_id: str) -> Killing:
        """Tell whether the kernel killed a process of the attempt for want of memory: because of
        the attempt's own limit, or because memory ran out around it.
        """
        path = self.path(attempt_id)
        counters = "memory.events" if self.version == 2 else "memory.oom_control"
        events = _read_counters(os.path.join(path, counters))
        if not events.get("oom_kill"):
            return ""
        if self.version == 2:
            return "limit" if events.get("oom") else "elsewhere"
        # Not failcnt: not every kernel counts there (6.18 does not).
        limit_bytes = _read_number(os.path.join(path, "memory.limit_in_bytes"))
        peak_bytes = _read_number(os.path.join(path, "memory.max_usage_in_bytes"))
        return "limit" if peak_bytes >= limit_bytes - _LIMIT_SLACK_BYTES else "elsewhere"

    def kill(self, attempt_id: str) -> None:
        """Have the kernel kill all processes of the attempt at once; only version 2 can."""
        if self.version == 2:
            with contextlib.suppress(OSError):  # none, or a kernel before 5.14
                _write(os.path.join(self.path(attempt_id), "cgroup.kill"), "1")

    def remove(self, attempt_id: str) -> bool:
        """Remove the cgroup of an attempt that is over, and kill what is in it; False while it
        cannot be removed.
        """
        return _remove_with_members(self.path(attempt_id))

    def close(self) -> None:
        """Remove all, for a supervisor that stops."""
        _remove_folder(self.folder)


def limit_sentence(limit_mb: int) -> str:
    """Say that an attempt was ended by its limit."""
    return (
        f"The attempt needed more memory than its limit of {limit_mb} MiB,"
        " and the kernel killed it."
    )


# --- at the start of a supervisor -----------------------------------------------------------------


def open_cages(pool: str, identity: str, *, is_wanted: bool) -> Cages | None:
    """Make the folder of cgroups of a pool and remove those that a dead supervisor left.

    Nothing here is an error: where the kernel cannot keep memory limits, None is returned and one
    line of the log says why; limits are then kept by watching alone.

    Parameters
    ----------
    pool : str
        Name of the pool, fit for a file name.
    identity : str
        What tells the pool from all others of the machine; its lock is held.
    is_wanted : bool
        False: use no cgroups.
    """
    if not is_wanted:
        log.info("memory_limits kept_by=watching why='switched off by the option cgroups'")
        return None
    try:
        own = find_place(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
        cages = make_cages(own, folder_prefix(pool, identity))
    except (OSError, CgroupsUnusableError) as error:
        log.info("memory_limits kept_by=watching why=%r", str(error))
        return None
    log.info("memory_limits kept_by=cgroups version=%d folder=%s", cages.version, cages.folder)
    return cages


def folder_prefix(pool: str, identity: str) -> str:
    """Give what the folders of one pool are called, up to the process id of the supervisor.

    Two pools of the same name, below two homes, may share a cgroup.
    """
    return f"dagengine-{pool}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}-"


def find_place(mountinfo: str, memberships: str) -> Place:
    """Find the memory cgroup of a process from its `mountinfo` and `cgroup` files. Raises
    `CgroupsUnusableError`.
    """
    version, path = _membership(memberships)
    if path.startswith("/.."):
        raise CgroupsUnusableError(f"the cgroup {path} lies outside of this namespace")
    for line in mountinfo.splitlines():
        mounted, _, system = line.partition(" - ")
        fields, kind = mounted.split(), system.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        is_memory = kind[0] == "cgroup" and "memory" in kind[2].split(",")
        if not (kind[0] == "cgroup2" if version == 2 else is_memory):
            continue
        root, mount = _unescape(fields[3]), _unescape(fields[4])
        inside = os.path.relpath(path, root)
        if inside.startswith(".."):  # another part of the hierarchy is mounted there
            continue
        return Place(version, mount, os.path.normpath(os.path.join(mount, inside)))
    raise CgroupsUnusableError(f"the hierarchy of cgroup {path} (version {version}) is not mounted")


def _membership(memberships: str) -> tuple[int, str]:
    unified = ""
    for line in memberships.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            return 1, path
        if number == "0" and not controllers:
            unified = path
    if not unified:
        raise CgroupsUnusableError("this process is in no cgroup for memory")
    return 2, unified


def _unescape(path: str) -> str:
    raw = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), os.fsencode(path))
    return os.fsdecode(raw)


def make_cages(own: Place, prefix: str) -> Cages:
    """Make the folder of a pool, after a trial that a limit can be set in it. Raises OSError or
    `CgroupsUnusableError`.
    """
    base = own.path if own.version == 1 else find_delegated(own)
    for name in {own.path, base}:
        if not os.access(os.path.join(name, _PROCS), os.W_OK):
            raise CgroupsUnusableError(f"{name} may not be written to")
    _remove_left(base, prefix)
    folder = os.path.join(base, f"{prefix}{os.getpid()}")
    cages = Cages(version=own.version, own=own.path, folder=folder)
    make_group(folder)
    try:
        if own.version == 2:
            _write(os.path.join(folder, _SUBTREE), "+memory")
        make_group(cages.path(_PROBE))
        _set_limit(own.version, cages.path(_PROBE), _PROBE_LIMIT_MB)
        remove_group(cages.path(_PROBE))
    except OSError:
        cages.close()
        raise
    return cages


def find_delegated(own: Place) -> str:
    """Find where cgroups may be made below a version 2 cgroup or beside it. Raises
    `CgroupsUnusableError`.

    A cgroup with processes cannot have children with limits (only the root of all can), so the
    services must be in a subgroup of what was delegated to them. A parent that was not delegated is
    left alone, even where its rights would allow: attempts would escape the limits of the service.
    """
    if "memory" in _read_words(os.path.join(own.path, _SUBTREE)):
        return own.path
    parent = os.path.dirname(own.path)
    if own.path == own.mount or not _is_delegated(parent, own.mount):
        raise CgroupsUnusableError(
            f"{own.path} has processes, and the cgroup above it is not delegated"
        )
    if "memory" not in _read_words(os.path.join(parent, _SUBTREE)):
        _write(os.path.join(parent, _SUBTREE), "+memory")
    return parent


def _is_delegated(path: str, mount: str) -> bool:
    for name in ("user.delegate", "trusted.delegate"):  # systemd's mark
        with contextlib.suppress(OSError):
            return os.getxattr(path, name) == b"1"
    # The root of a namespace, a container's, is its own; the root of all has no such file.
    return path == mount and os.path.exists(os.path.join(path, "cgroup.events"))


# --- files of cgroups -----------------------------------------------------------------------------


def make_group(path: str) -> None:
    """Make a cgroup; the kernel fills it with its files."""
    os.mkdir(path)


def remove_group(path: str) -> None:
    """Remove a cgroup without processes and without children."""
    os.rmdir(path)


def _set_limit(version: int, path: str, limit_mb: int) -> None:
    limit = str(limit_mb * 1024 * 1024)
    if version == 2:
        _write(os.path.join(path, "memory.max"), limit)
        optional = {"memory.swap.max": "0", "memory.oom.group": "1"}
    else:
        _write(os.path.join(path, "memory.limit_in_bytes"), limit)
        optional = {"memory.memsw.limit_in_bytes": limit}
    for name, value in optional.items():  # absent where swap is not counted, or the kernel is old
        with contextlib.suppress(FileNotFoundError):
            _write(os.path.join(path, name), value)


def _remove_with_members(path: str) -> bool:
    try:
        remove_group(path)
    except FileNotFoundError:
        return True
    except OSError:
        _kill_members(path)
        return False
    return True


def _kill_members(path: str) -> None:
    for pid in _read_pids(path):
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                if pid in _read_pids(path):  # else the number may be another process's by now
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)


def _remove_left(base: str, prefix: str) -> None:
    for name in os.listdir(base):
        if name.startswith(prefix):
            log.info("cgroups_left_removed folder=%s", name)
            _remove_folder(os.path.join(base, name))


def _remove_folder(folder: str) -> None:
    for _ in range(_N_REMOVALS):
        try:
            names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
        except OSError:
            return
        left = [name for name in names if not _remove_with_members(os.path.join(folder, name))]
        if not left and _remove_with_members(folder):
            return
        time.sleep(_REMOVAL_PAUSE_S)
    log.warning("cgroups_not_removed folder=%s", folder)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _read_words(path: str) -> list[str]:
    try:
        return _read(path).split()
    except OSError:
        return []


def _read_pids(path: str) -> list[int]:
    return [int(word) for word in _read_words(os.path.join(path, _PROCS))]


def _read_number(path: str) -> int:
    words = _read_words(path)
    return int(words[0]) if words else 0


def _read_counters(path: str) -> dict[str, int]:
    words = _read_words(path)
    return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=False)}
