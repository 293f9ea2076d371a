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
    folder_name, name = os.path.split(path)
    try:
        folder = os.open(folder_name or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            # without waiting: a pipe would keep its reader for ever
            flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, 0o644, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno in (*_LINK, errno.ENXIO):
            raise NotPlainError(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotPlainError(path)
    return descriptor
