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

from executors.local import linux
from executors.local.errors import CgroupsUnusableError

log = logging.getLogger(__name__)

PROCS = "cgroup.procs"
_SUBTREE = "cgroup.subtree_control"
_PROBE = "probe"
_PROBE_LIMIT_MB = 64
_LIMIT_SLACK_BYTES = 1024 * 1024
_N_REMOVALS = 50
_REMOVAL_PAUSE_S = 0.01

HINT = "Raise run.resources.memory_mb of the operator, or give it smaller inputs."

Killing = Literal["", "limit", "elsewhere"]


class Place(msgspec.Struct, frozen=True):
    """The cgroup of a process for one controller: version of the hierarchy, where it is mounted,
    the path.
    """

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

    def enter(self, attempt_id: str, limit_mb: int, max_processes: int) -> None:
        """Move this process into a new cgroup with the limits. Raises OSError; it then stays."""
        path = self.path(attempt_id)
        make_group(path)
        try:
            _set_limit(self.version, path, limit_mb)
            if self.version == 2:
                with contextlib.suppress(OSError):  # not delegated: kept by watching
                    write_file(os.path.join(path, "pids.max"), str(max_processes))
            write_file(os.path.join(path, PROCS), "0")
        except OSError:
            with contextlib.suppress(OSError):
                remove_group(path)
            raise

    def leave(self, attempt_id: str, home: str = "") -> bool:
        """Move this process back to `home` (where that is empty, to the supervisor's cgroup) and
        remove the cgroup, unless children are in it still; False when the process could not leave.
        """
        try:
            write_file(os.path.join(home or self.own, PROCS), "0")
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
        events = read_counters(os.path.join(path, counters))
        if not events.get("oom_kill"):
            return ""
        if self.version == 2:
            return "limit" if events.get("oom") else "elsewhere"
        # Not failcnt: not every kernel counts there (6.18 does not).
        limit_bytes = read_number(os.path.join(path, "memory.limit_in_bytes"))
        peak_bytes = read_number(os.path.join(path, "memory.max_usage_in_bytes"))
        return "limit" if peak_bytes >= limit_bytes - _LIMIT_SLACK_BYTES else "elsewhere"

    def kill(self, attempt_id: str) -> None:
        """Have the kernel kill all processes of the attempt at once; only version 2 can."""
        if self.version == 2:
            kill_group(self.path(attempt_id))

    def remove(self, attempt_id: str) -> bool:
        """Remove the cgroup of an attempt that is over, and kill what is in it; False while it
        cannot be removed.
        """
        return remove_with_members(self.path(attempt_id))

    def close(self) -> None:
        """Remove all, for a supervisor that stops."""
        remove_folder(self.folder)


def kill_group(path: str) -> None:
    """Have the kernel kill all processes of a cgroup of version 2 at once."""
    with contextlib.suppress(OSError):  # none, or a kernel before 5.14
        write_file(os.path.join(path, "cgroup.kill"), "1")


def limit_sentence(limit_mb: int) -> str:
    """Say that an attempt was ended by its limit."""
    return (
        f"The attempt needed more memory than its limit of {limit_mb} MiB,"
        " and the kernel killed it."
    )


def find_oom_counters(pens_folder: str = "") -> list[str]:
    """Find the files in which the kernel counts whom it killed for want of memory, of workers that
    are in no cgroup of an attempt; none where it does not.

    Parameters
    ----------
    pens_folder : str
        What holds the cgroups in which processes of workers are counted; empty = there are none.
    """
    with contextlib.suppress(OSError, CgroupsUnusableError):
        own = find_own_place("memory")
        return find_counters_of(own, pens_folder)
    return []


def find_counters_of(own: Place, pens_folder: str = "") -> list[str]:
    """Find those files for a pool whose supervisor is in this cgroup."""
    if own.version == 1:
        choices = [[os.path.join(own.path, "memory.oom_control")]]
    else:
        # Where processes are counted by cgroups beside it, workers are charged to what holds these,
        # or where memory is not counted there, to the one above.
        charged = [own.path, *([pens_folder] if pens_folder else [])]
        above = [os.path.dirname(own.path)] if own.path != own.mount else []
        local = [os.path.join(folder, "memory.events.local") for folder in (*charged, *above)]
        choices = [local, [os.path.join(folder, "memory.events") for folder in charged]]
    for paths in choices:
        if found := [path for path in paths if "oom_kill" in read_counters(path)]:
            return found
    return []


def count_oom_kills(counters: list[str]) -> int:
    """Count them; without a counter those of the whole machine, other services' among them."""
    if not counters:
        return linux.count_kernel_oom_kills()
    return sum(read_counters(path).get("oom_kill", 0) for path in counters)


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
        cages = make_cages(find_own_place("memory"), folder_prefix(pool, identity))
    except (OSError, CgroupsUnusableError) as error:
        log.info("memory_limits kept_by=watching why=%r", str(error))
        return None
    log.info("memory_limits kept_by=cgroups version=%d folder=%s", cages.version, cages.folder)
    return cages


def folder_prefix(pool: str, identity: str, purpose: str = "memory") -> str:
    """Give what the folders of one pool are called, up to the process id of the supervisor.

    Two pools of the same name, below two homes, may share a cgroup.
    """
    kind = "dagengine" if purpose == "memory" else f"dagengine.{purpose}"
    return f"{kind}-{pool}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}-"


def find_own_place(controller: str) -> Place:
    """Find the cgroup of this process for a controller. Raises `CgroupsUnusableError`."""
    return find_place(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"), controller)


def find_place(mountinfo: str, memberships: str, controller: str = "memory") -> Place:
    """Find the cgroup of a process for a controller from its `mountinfo` and `cgroup` files. Raises
    `CgroupsUnusableError`.
    """
    version, path = _membership(memberships, controller)
    if path.startswith("/.."):
        raise CgroupsUnusableError(f"the cgroup {path} lies outside of this namespace")
    for line in mountinfo.splitlines():
        mounted, _, system = line.partition(" - ")
        fields, kind = mounted.split(), system.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        is_ours = kind[0] == "cgroup" and controller in kind[2].split(",")
        if not (kind[0] == "cgroup2" if version == 2 else is_ours):
            continue
        root, mount = _unescape(fields[3]), _unescape(fields[4])
        inside = os.path.relpath(path, root)
        if inside.startswith(".."):  # another part of the hierarchy is mounted there
            continue
        return Place(version, mount, os.path.normpath(os.path.join(mount, inside)))
    raise CgroupsUnusableError(f"the hierarchy of cgroup {path} (version {version}) is not mounted")


def _membership(memberships: str, controller: str) -> tuple[int, str]:
    unified = ""
    for line in memberships.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            return 1, path
        if number == "0" and not controllers:
            unified = path
    if not unified:
        raise CgroupsUnusableError(f"this process is in no cgroup for {controller}")
    return 2, unified


def _unescape(path: str) -> str:
    raw = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), os.fsencode(path))
    return os.fsdecode(raw)


def make_cages(own: Place, prefix: str) -> Cages:
    """Make the folder of a pool, after a trial that a limit can be set in it. Raises OSError or
    `CgroupsUnusableError`.
    """
    base = find_base(own, "memory")
    remove_left(base, prefix)
    folder = os.path.join(base, f"{prefix}{os.getpid()}")
    cages = Cages(version=own.version, own=own.path, folder=folder)
    make_group(folder)
    try:
        if own.version == 2:
            try:
                write_file(os.path.join(folder, _SUBTREE), "+memory +pids")
            except OSError:  # without the second, processes are counted by watching
                add_controller(folder, "memory")
        make_group(cages.path(_PROBE))
        _set_limit(own.version, cages.path(_PROBE), _PROBE_LIMIT_MB)
        remove_group(cages.path(_PROBE))
    except OSError:
        cages.close()
        raise
    return cages


def find_base(own: Place, controller: str) -> str:
    """Find where cgroups may be made. Raises OSError or `CgroupsUnusableError`."""
    base = own.path if own.version == 1 else find_delegated(own, controller)
    for name in {own.path, base}:
        if not os.access(os.path.join(name, PROCS), os.W_OK):
            raise CgroupsUnusableError(f"{name} may not be written to")
    return base


def find_delegated(own: Place, controller: str = "memory") -> str:
    """Find where cgroups may be made below a version 2 cgroup or beside it. Raises
    `CgroupsUnusableError`.

    A cgroup with processes cannot have children with limits (only the root of all can), so the
    services must be in a subgroup of what was delegated to them. A parent that was not delegated is
    left alone, even where its rights would allow: attempts would escape the limits of the service.
    """
    if controller in _read_words(os.path.join(own.path, _SUBTREE)):
        return own.path
    parent = os.path.dirname(own.path)
    if own.path == own.mount or not _is_delegated(parent, own.mount):
        raise CgroupsUnusableError(
            f"{own.path} has processes, and the cgroup above it is not delegated"
        )
    if controller not in _read_words(os.path.join(parent, _SUBTREE)):
        add_controller(parent, controller)
    return parent


def add_controller(path: str, controller: str) -> None:
    """Let a cgroup of version 2 have children with limits of this kind. Raises OSError."""
    write_file(os.path.join(path, _SUBTREE), f"+{controller}")


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
        write_file(os.path.join(path, "memory.max"), limit)
        optional = {"memory.swap.max": "0", "memory.oom.group": "1"}
    else:
        write_file(os.path.join(path, "memory.limit_in_bytes"), limit)
        optional = {"memory.memsw.limit_in_bytes": limit}
    for name, value in optional.items():  # absent where swap is not counted, or the kernel is old
        with contextlib.suppress(FileNotFoundError):
            write_file(os.path.join(path, name), value)


def remove_with_members(path: str) -> bool:
    """Remove a cgroup and kill what is in it; False while it cannot be removed."""
    try:
        remove_group(path)
    except FileNotFoundError:
        return True
    except OSError:
        kill_members(path)
        return False
    return True


def kill_members(path: str) -> None:
    """SIGKILL all processes of a cgroup; where it can be shut, nothing more is started meanwhile,
    so that not even a fork bomb outlives this.
    """
    with contextlib.suppress(OSError):  # processes are not limited there
        write_file(os.path.join(path, "pids.max"), "0")
    kill_group(path)
    with contextlib.ExitStack() as opened:
        pidfds: dict[int, int] = {}
        for pid in _read_pids(path):
            with contextlib.suppress(OSError):  # it ended meanwhile
                pidfds[pid] = os.pidfd_open(pid)
                opened.callback(os.close, pidfds[pid])
        for pid in _read_pids(path):  # else the number may be another process's by now
            if pid in pidfds:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(pidfds[pid], signal.SIGKILL)


def remove_left(base: str, prefix: str) -> None:
    """Remove the folders that dead supervisors of the same pool left."""
    for name in os.listdir(base):
        if name.startswith(prefix):
            log.info("cgroups_left_removed folder=%s", name)
            remove_folder(os.path.join(base, name))


def remove_folder(folder: str) -> None:
    """Remove a folder of cgroups with all that is in it, processes included."""
    for _ in range(_N_REMOVALS):
        try:
            names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
        except OSError:
            return
        left = [name for name in names if not remove_with_members(os.path.join(folder, name))]
        if not left and remove_with_members(folder):
            return
        time.sleep(_REMOVAL_PAUSE_S)
    log.warning("cgroups_not_removed folder=%s", folder)


def write_file(path: str, text: str) -> None:
    """Write a setting of a cgroup, in one write."""
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
    return [int(word) for word in _read_words(os.path.join(path, PROCS))]


def read_number(path: str) -> int:
    """Read a file that holds one number; 0 where it is missing."""
    words = _read_words(path)
    return int(words[0]) if words else 0


def read_counters(path: str) -> dict[str, int]:
    """Read a file of names with their numbers; nothing where it is missing."""
    words = _read_words(path)
    return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=False)}
