"""Where a worker's output goes: the log of its present attempt."""

from __future__ import annotations

import fcntl
import os
import stat

from executors.local import options
from executors.local.unnamed_logs import UnnamedLogs, open_or_make_folder
from executors.plain_files import open_plain_in


class AttemptLog:
    """The file behind standard output and standard error.

    It bears no name at first (see `UnnamedLogs`). One that stayed empty serves the next attempt as
    it is: to make a file takes milliseconds where many were deleted lately, for then ext4 looks
    long for an inode, and to rename one for every attempt still takes a sixth of what a no-op does
    in a worker. So an attempt that wrote nothing may have no log.
    """

    def __init__(self, logs: str, unnamed: UnnamedLogs) -> None:
        self._logs = logs
        self._unnamed = unnamed
        self._pid = os.getpid()
        self._spare = unnamed.path(self._pid)
        self._attempt_id = ""
        self._made: os.stat_result | None = None
        self._is_spare = False
        self._is_named = False
        self._is_begun = False
        self._error = ""

    def begin(self, attempt_id: str) -> None:
        """Send output to the log of an attempt.

        Raises `NotPlainError` where something else lies in its place, and `OSError` where it cannot
        be opened: then output still goes to the log before, which is not this attempt's.
        """
        self._is_begun = False
        path = options.log_path(self._logs, attempt_id)
        if not _is_free(path):
            self._open_named(path)
        elif self._is_spare and self._is_untouched():
            # as it was opened, whatever the former task has made of it
            fcntl.fcntl(1, fcntl.F_SETFL, os.O_APPEND)
            os.dup2(1, 2)
        else:
            try:
                self._redirect_to(_open(self._spare, os.O_EXCL))
                self._is_named = False
            except OSError:  # a former task has put something in its place
                self._open_named(path)
        self._attempt_id = attempt_id
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
            found = None
        size_bytes = found.st_size if found is not None else 0
        if self._is_named:
            return size_bytes
        if may_be_reused and found is not None and not size_bytes and self._is_made(found):
            self._is_spare = True
            return 0
        try:
            self._unnamed.give_name(self._pid, self._attempt_id)
        except OSError as error:
            self._error = f"{self._attempt_id}: {error}"
            return 0
        return size_bytes

    def take_error(self) -> str:
        """Tell once why what an attempt wrote was lost."""
        error, self._error = self._error, ""
        return error

    def _is_made(self, found: os.stat_result) -> bool:
        return self._made is not None and os.path.samestat(found, self._made)

    def _is_untouched(self) -> bool:
        """Whether the spare log lies where it did: the supervisor may have given it a name, and a
        task that shares its folder anything.
        """
        try:
            found = os.lstat(self._spare)
        except OSError:
            return False
        return self._is_made(found) and not found.st_size

    def _open_named(self, path: str) -> None:
        self._redirect_to(_open(path))
        self._is_named = True
        self._unnamed.remove(self._pid)

    def _redirect_to(self, descriptor: int) -> None:
        self._made = os.fstat(descriptor)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)


def _is_free(path: str) -> bool:
    """Whether a log may be moved there: nothing is in its place, nor in that of its folder."""
    try:
        folder = os.lstat(os.path.dirname(path))
    except FileNotFoundError:
        return True
    return stat.S_ISDIR(folder.st_mode) and not os.path.lexists(path)


def _open(path: str, flags: int = 0) -> int:
    folder = open_or_make_folder(os.path.dirname(path))
    try:
        opened = open_plain_in(folder, path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | flags)
    finally:
        os.close(folder)
    try:
        os.set_blocking(opened, True)
        # elsewhere than where output goes, should a task have closed that
        return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(opened)
