"""Ask the kernel to begin bringing written bytes to the disk, so that a later sync waits less."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

_SYNC_FILE_RANGE_WRITE = 2
"""Begin only. Waiting here would also take errors of the disk away from the sync, which tells
them."""


def begin_writeback(descriptor: int, start: int, size_bytes: int) -> None:
    """Have a range of an open file written out; a hint, which some file systems do not take."""
    begin = _find_call()
    if begin is not None:
        begin(descriptor, start, size_bytes, _SYNC_FILE_RANGE_WRITE)


@functools.cache
def _find_call() -> Callable[[int, int, int, int], int] | None:
    found = getattr(ctypes.CDLL(None), "sync_file_range", None)  # of Linux alone
    if found is not None:
        found.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    call: Callable[[int, int, int, int], int] | None = found
    return call
