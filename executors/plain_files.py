"""Opens files that others may have tampered with, without following a link or a device.

Operators run with the rights of their worker and can put a link where a log or an artifact of
another attempt is expected. Whoever then reads or writes there, perhaps with more rights, would do
so elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat

from executors.errors import NotPlainError

_LINK = (errno.ELOOP, errno.ENOTDIR)


def open_plain(path: str, flags: int = os.O_RDONLY) -> int:
    """Open a plain file by a path whose last folder and name are no links.

    Raises `NotPlainError` where they are, and `OSError` as `os.open` does.
    """
    folder = open_folder(os.path.dirname(path))
    try:
        return open_plain_in(folder, path, flags)
    finally:
        os.close(folder)


def open_folder(path: str) -> int:
    """Open a folder that is no link, for the calls that take `dir_fd`.

    Raises `NotPlainError` where it is one, and `OSError` as `os.open` does.
    """
    try:
        return os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in _LINK:
            raise NotPlainError(path) from error
        raise


def open_plain_in(folder: int, path: str, flags: int) -> int:
    """Open a plain file as `open_plain`, whose folder is open already."""
    # without waiting: a pipe would keep its reader for ever
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(os.path.basename(path), flags, 0o644, dir_fd=folder)
    except OSError as error:
        if error.errno in (*_LINK, errno.ENXIO):
            raise NotPlainError(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotPlainError(path)
    return descriptor
