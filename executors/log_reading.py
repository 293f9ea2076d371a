"""Reads logs by byte offset without cutting a character in two."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import BinaryIO

from executors.base import LogChunk
from executors.plain_files import open_plain

_LONGEST_CHARACTER = 4


@contextlib.contextmanager
def open_log(path: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open a log for reading, and tell how many bytes of it there are.

    Nothing beyond those may be read: its worker makes a log that stayed empty that of the next
    attempt, and what is written then is none of this one's.

    Raises `FileNotFoundError` where there is no such file, or a link stands in its place.
    """
    with open(open_plain(path), "rb") as file:
        found = os.fstat(file.fileno())
        if found.st_size and not _is_at(path, found):
            raise FileNotFoundError(errno.ENOENT, "this has become another log", path)
        yield file, found.st_size


def _is_at(path: str, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(found, os.lstat(path))
    except OSError:
        return False


def read_chunk(
    path: str, offset: int, limit: int, *, end: int | None = None, is_over: bool = True
) -> LogChunk:
    """Read up to `limit` bytes from `offset` as text.

    Bytes that are no UTF-8 are shown as U+FFFD. A character that is cut by the limit, or not yet
    written to its end, is left for the next piece; at least one character is given where one is
    there.

    Parameters
    ----------
    path : str
        The log.
    offset, limit : int
        In bytes; an offset beyond the end gives an empty piece.
    end : int, optional
        Read no further than this byte.
    is_over : bool
        Whether nothing more will be written.

    Raises
    ------
    FileNotFoundError
        Where there is no such file, or a link stands in its place.
    """
    offset = max(0, offset)
    with open_log(path) as (file, size_bytes):
        readable_end = size_bytes if end is None else min(size_bytes, end)
        file.seek(offset)
        n_wanted = min(max(limit, _LONGEST_CHARACTER), readable_end - offset)
        data = file.read(n_wanted) if n_wanted > 0 else b""
    at_end = offset + len(data) >= readable_end
    if not (at_end and is_over):
        data = data[: len(data) - cut_tail(data)]
    next_offset = offset + len(data) if data else min(offset, size_bytes)
    return LogChunk(
        text=data.decode("utf-8", errors="replace"),
        offset=offset,
        next_offset=next_offset,
        size_bytes=size_bytes,
        is_complete=is_over and next_offset >= size_bytes,
    )


def cut_tail(data: bytes) -> int:
    """Count the bytes at the end that begin a UTF-8 character but do not finish it."""
    for n_back in range(1, min(_LONGEST_CHARACTER, len(data) + 1)):
        byte = data[-n_back]
        if byte & 0b1100_0000 == 0b1000_0000:  # goes on with a character
            continue
        length = 1 + (byte >= 0b1100_0000) + (byte >= 0b1110_0000) + (byte >= 0b1111_0000)
        return n_back if length > n_back else 0
    return 0
