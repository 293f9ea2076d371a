"""The lock around SQLite's write transactions.

SQLite's own busy handler sleeps between its tries; a waiter of `flock` is woken by the kernel. The
lock belongs to an open file, so it ends with its process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path


class _Waiter:
    """Waits for the lock in a thread of its own, so that the caller can stop waiting."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._guard = threading.Lock()
        self._is_abandoned = False
        self._is_held = threading.Event()
        threading.Thread(target=self._wait, name="write-lock", daemon=True).start()

    def _wait(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._guard:
            if self._is_abandoned:
                os.close(self._descriptor)
            else:
                self._is_held.set()

    def is_granted(self, timeout_s: float) -> bool:
        """Wait; on a timeout the thread gives the lock back as soon as it gets it."""
        if self._is_held.wait(timeout_s):
            return True
        with self._guard:
            self._is_abandoned = not self._is_held.is_set()
            return not self._is_abandoned


class WriteLock:
    """One lock file beside the database; serves all threads of this process and all processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.Lock()
        self._descriptor: int | None = None

    def acquire(self, timeout_s: float) -> bool:
        """Take the lock; false if it could not be had in time."""
        deadline = time.monotonic() + timeout_s
        if not self._turn.acquire(timeout=max(timeout_s, 0.0)):
            return False
        try:
            is_held = self._acquire_file(deadline)
        except BaseException:
            self._turn.release()
            raise
        if not is_held:
            self._turn.release()
        return is_held

    def _acquire_file(self, deadline: float) -> bool:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiter = _Waiter(self._descriptor)
            if waiter.is_granted(max(deadline - time.monotonic(), 0.0)):
                return True
            # The abandoned waiter owns the old descriptor now and closes it.
            self._descriptor = None
            return False
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._turn.release()

    def close(self) -> None:
        """Close the lock file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def find_holder(self) -> int | None:
        """Name the process that holds the lock, by the kernel's table of locks."""
        try:
            status = self.path.stat()
            table = Path("/proc/locks").read_text(encoding="ascii")
        except OSError:
            return None
        place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        for line in table.splitlines():
            fields = line.split()
            # `1: FLOCK ADVISORY WRITE <pid> <device>:<inode> 0 EOF`; a waiter has `->` before FLOCK
            if fields[1] == "FLOCK" and fields[5] == place and fields[4].isdigit():
                return int(fields[4])
        return None
