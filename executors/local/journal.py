"""The pool's journal: which attempts it took, started and ended, so that a new supervisor knows.

Lines are appended before what they say becomes true for anyone else: a start before the worker
gets the task, an end before a client is told. They are not synced: after a power failure the tasks
of the lost lines are done again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

log = logging.getLogger(__name__)

_COMPACT_AT_BYTES = 4 * 1024 * 1024
_encode = msgspec.json.Encoder().encode
NO_OUTCOME = msgspec.Raw(b"null")


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line: an attempt was accepted, started (`at`, Unix time), ended (with its outcome) or
    released; or the cancel of an unknown attempt left a tombstone.
    """

    k: Literal["accepted", "started", "ended", "released", "tombstone"]
    id: str
    at: float = 0.0
    outcome: msgspec.Raw = NO_OUTCOME


_decode = msgspec.json.Decoder(Line).decode


def read_journal(path: str) -> Iterator[Line]:
    """Read the lines in order; a torn or damaged one is left out and logged."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the `with` below
    except FileNotFoundError:
        return
    with file:
        for number, line in enumerate(file, start=1):
            try:
                yield _decode(line)
            except msgspec.DecodeError as error:
                log.warning("journal_line_damaged path=%s line=%d error=%s", path, number, error)


class Journal:
    """Appends lines, many at a time, and rewrites the file when it has grown.

    Parameters
    ----------
    path : str
        The file; its folder exists.
    snapshot : callable
        Gives the lines that describe the present state; used to compact.
    """

    def __init__(self, path: str, snapshot: Callable[[], Iterable[Line]]) -> None:
        self._path = path
        self._snapshot = snapshot
        self._pending = bytearray()
        self._fd = -1
        self._size_bytes = 0
        self._compact_at_bytes = _COMPACT_AT_BYTES
        self._is_failing = False

    def add(self, line: Line) -> None:
        """Take a line; `flush` writes it."""
        self._pending += _encode(line)
        self._pending += b"\n"

    def flush(self) -> bool:
        """Write what was added. Where the disk refuses, the lines are kept for the next flush and
        False is returned: the tasks go on.
        """
        if not self._pending:
            return True
        try:
            n_written = os.write(self._fd, self._pending)
        except OSError as error:
            if not self._is_failing:
                log.error("journal_write_failed path=%s error=%s", self._path, error)  # noqa: TRY400 - the text says it all
            self._is_failing = True
            return False
        del self._pending[:n_written]
        self._size_bytes += n_written
        self._is_failing = bool(self._pending)
        if self._size_bytes > self._compact_at_bytes and not self._pending:
            self.compact()
        return not self._is_failing

    def compact(self) -> None:
        """Rewrite the file so that it holds the present state only; also opens it."""
        new = f"{self._path}.new"
        try:
            with open(new, "wb") as file:
                for line in self._snapshot():
                    file.write(_encode(line))
                    file.write(b"\n")
                size_bytes = file.tell()
            os.replace(new, self._path)
        except OSError as error:
            log.error("journal_compaction_failed path=%s error=%s", self._path, error)  # noqa: TRY400 - the text says it all
            size_bytes = self._size_bytes
        else:
            self._pending.clear()
        self.close()
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size_bytes = size_bytes
        self._compact_at_bytes = max(_COMPACT_AT_BYTES, 2 * size_bytes)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
