"""Where a worker's output goes: the log of its present attempt."""

from __future__ import annotations

import fcntl
import os
import stat

from executors.errors import NotPlainError
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
        self._file: tuple[int, int] | None = None
        self._is_spare = False

    def begin(self, attempt_id: str) -> None:
        """Send output to the log of an attempt.

        Raises `NotPlainError` where something else lies in its place, and `OSError` where it cannot
        be opened.
        """
        path = options.log_path(self._logs, attempt_id)
        is_spare, self._is_spare = self._is_spare, False
        folder_name, name = os.path.split(path)
        folder = _open_or_make(folder_name)
        try:
            made = None if is_spare and self._rename(folder, name) else _make(folder, name)
        finally:
            os.close(folder)
        if made is not None:
            self._redirect_to(made)
        self._path = path

    def end(self, *, may_be_reused: bool) -> int:
        """Return the size of the log in bytes, of which nothing more is to come.

        It is told where the worker takes another task, and nothing that the former one started is
        left that could write.
        """
        try:
            found, other = os.fstat(1), os.fstat(2)
        except OSError:  # the task closed it
            return 0
        is_ours = _identify(found) == _identify(other) == self._file
        self._is_spare = may_be_reused and is_ours and found.st_size == 0
        return found.st_size

    def _rename(self, folder: int, name: str) -> bool:
        """Give the spare log its new name; false where that did not work, or was tampered with."""
        try:
            if _is_there(folder, name):
                return False
            os.rename(self._path, name, dst_dir_fd=folder)
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if _identify(found) != self._file or found.st_size:
                os.unlink(name, dir_fd=folder)
                return False
            # as it was opened, whatever the former task has made of it
            fcntl.fcntl(1, fcntl.F_SETFL, os.O_APPEND)
            os.dup2(1, 2)
        except OSError:  # its run was deleted, or the folder lies on another disk by now
            return False
        return True

    def _redirect_to(self, descriptor: int) -> None:
        self._file = _identify(os.fstat(descriptor))
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)


def _make(folder: int, name: str) -> int:
    opened = open_plain_in(folder, name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.set_blocking(opened, True)
        # elsewhere than where output goes, should a task have closed that
        return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(opened)


def _open_or_make(folder: str) -> int:
    try:
        return open_folder(folder)
    except NotPlainError:
        raise
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        return open_folder(folder)


def _identify(found: os.stat_result) -> tuple[int, int] | None:
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
