"""Where a worker's output goes: the log of its present attempt."""

from __future__ import annotations

import fcntl
import os

from executors.local import options
from executors.plain_files import open_folder, open_plain_in


class AttemptLog:
    """The file behind standard output and standard error.

    A log that stayed empty becomes that of the next attempt under another name. To make a file
    costs several times as much as to rename one: milliseconds where many were deleted lately, for
    then ext4 looks long for an inode. So an attempt that wrote nothing may have no log.
    """

    def __init__(self, logs: str) -> None:
        self._logs = logs
        self._path = ""
        self._made: os.stat_result | None = None
        self._is_spare = False
        self._is_begun = False

    def begin(self, attempt_id: str) -> None:
        """Send output to the log of an attempt.

        Raises `NotPlainError` where something else lies in its place, and `OSError` where it cannot
        be opened: then output still goes to the log before, which is not this attempt's.
        """
        self._is_begun = False
        path = options.log_path(self._logs, attempt_id)
        folder = _open_or_make(os.path.dirname(path))
        try:
            is_renamed = self._is_spare and self._rename(folder, path)
            opened = None if is_renamed else _open(folder, path)
        finally:
            os.close(folder)
        # only now: the folder may have got the number of an output that a task had closed
        if opened is not None:
            self._redirect_to(opened)
        self._path = path
        self._is_begun = True

    def end(self, *, may_be_reused: bool) -> int:
        """Return the size of the log in bytes, of which nothing more is to come.

        It is 0 where the attempt has none. The log may be reused where the worker takes another
        task, and nothing is left that the former one started and that could write.
        """
        if not self._is_begun:  # nothing ran, so a spare log still is one
            return 0
        self._is_spare = False
        try:
            found = os.fstat(1)
        except OSError:  # the task closed it
            return 0
        self._is_spare = may_be_reused and found.st_size == 0 and self._is_made(found)
        return found.st_size

    def _is_made(self, found: os.stat_result) -> bool:
        return self._made is not None and os.path.samestat(found, self._made)

    def _rename(self, folder: int, path: str) -> bool:
        """Give the spare log its new name; false where that did not work, or was tampered with."""
        name = os.path.basename(path)
        if os.access(name, os.F_OK, dir_fd=folder, follow_symlinks=False):
            return False
        try:
            os.rename(self._path, name, dst_dir_fd=folder)
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not self._is_made(found) or found.st_size:
                os.unlink(name, dir_fd=folder)
                return False
            # as it was opened, whatever the former task has made of it
            fcntl.fcntl(1, fcntl.F_SETFL, os.O_APPEND)
            os.dup2(1, 2)
        except OSError:  # its run was deleted, or the folder lies on another disk by now
            return False
        return True

    def _redirect_to(self, descriptor: int) -> None:
        self._made = os.fstat(descriptor)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)


def _open(folder: int, path: str) -> int:
    opened = open_plain_in(folder, path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.set_blocking(opened, True)
        # elsewhere than where output goes, should a task have closed that
        return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(opened)


def _open_or_make(folder: str) -> int:
    try:
        return open_folder(folder)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        return open_folder(folder)
