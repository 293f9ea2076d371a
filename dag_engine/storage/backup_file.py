"""The file of a backup: the rows of all tables, for every dialect, with a digest at its end.

A line that names the format, then frames, each with its length in four bytes before it and packed
with zlib: a head, rows of one table after the other, a foot with the number of rows of each table.
The last 32 bytes are the SHA-256 of all before them, so that a torn or changed file is found out
before anything of it is used. The digest tells damage, not who wrote the file.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec

from dag_engine.storage import tables
from dag_engine.storage.errors import BackupUnusableError
from executors.disks import sync_folder

_MAGIC = b"dagengine backup 1\n"
_LEVEL = 1
_FRAME_BYTES = 1024 * 1024
_FRAME_ROWS = 5_000
_LARGEST_FRAME_BYTES = 256 * 1024 * 1024
_N_LENGTH_BYTES = 4
_N_DIGEST_BYTES = hashlib.sha256().digest_size

Row = list[Any]


class Head(msgspec.Struct, tag="head", frozen=True, kw_only=True):
    """What was copied: the schema's revision, the moment, and by which version of the program."""

    schema: str
    made_at: dt.datetime
    program: str
    dialect: str


class Rows(msgspec.Struct, tag="rows", frozen=True, kw_only=True):
    """Some rows of one table; values stand in the order of the columns, moments as text."""

    table: str
    columns: list[str]
    rows: list[Row]


class Foot(msgspec.Struct, tag="foot", frozen=True, kw_only=True):
    """How many rows each table had."""

    n_rows: dict[str, int]


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What a file that was read to its end holds."""

    head: Head
    n_rows: dict[str, int]
    size_bytes: int
    digest: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Head | Rows | Foot).decode


class BackupWriter:
    """Writes a backup beside its target, and moves it there once it is whole and synced."""

    def __init__(self, target: Path) -> None:
        self._target = target
        # A name of its own, so that of two that write the same target each moves its own file.
        descriptor, partial = tempfile.mkstemp(
            prefix=f"{target.name}.", suffix=".partial", dir=target.parent
        )
        self._partial = Path(partial)
        self._file = os.fdopen(descriptor, "wb")
        self._digest = hashlib.sha256()
        self._n_rows: Counter[str] = Counter()

    def __enter__(self) -> BackupWriter:
        """Write within the block; a block that fails leaves nothing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove what is not whole."""
        try:
            self._file.close()  # writes what is still held, which fails on a full disk
        finally:
            self._partial.unlink(missing_ok=True)

    def write_head(self, head: Head) -> None:
        """Write what the rows come from."""
        self._write(_MAGIC)
        self._write_frame(head)

    def write_table(self, table: str, columns: list[str], rows: Iterator[Any]) -> None:
        """Write the rows of a table as they come; few of them are held at a time."""
        self._n_rows[table] = 0
        held: list[Row] = []
        size_bytes = 0
        for row in rows:
            held.append(list(row))
            size_bytes += sum(len(value) for value in row if isinstance(value, (str, bytes)))
            if size_bytes > _FRAME_BYTES or len(held) >= _FRAME_ROWS:
                self._write_rows(table, columns, held)
                held, size_bytes = [], 0
        self._write_rows(table, columns, held)

    def _write_rows(self, table: str, columns: list[str], rows: list[Row]) -> None:
        if rows:
            self._n_rows[table] += len(rows)
            self._write_frame(Rows(table=table, columns=columns, rows=rows))

    def finish(self, head: Head) -> Backup:
        """Write foot and digest, sync, and put the file in its place."""
        self._write_frame(Foot(n_rows=dict(self._n_rows)))
        digest = self._digest.digest()
        self._file.write(digest)
        self._file.flush()
        os.fsync(self._file.fileno())
        size_bytes = self._file.tell()
        self._file.close()
        self._partial.rename(self._target)
        sync_folder(self._target.parent)
        return Backup(
            head=head, n_rows=dict(self._n_rows), size_bytes=size_bytes, digest=digest.hex()
        )

    def _write_frame(self, frame: Head | Rows | Foot) -> None:
        packed = zlib.compress(_encode(frame), _LEVEL)
        self._write(len(packed).to_bytes(_N_LENGTH_BYTES, "big") + packed)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


class BackupReader:
    """Reads a backup from its head to its digest; `backup` is known once all rows were read."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._digest = hashlib.sha256()
        self._n_rows: Counter[str] = Counter()
        self.backup: Backup | None = None

    def read_rows(self) -> Iterator[Rows]:
        """Yield the rows. Raises `BackupUnusableError` where the file is not what was written."""
        try:
            with self._source.open("rb") as file:
                yield from self._read(file)
        except OSError as error:
            raise self._refusal(error.strerror or str(error)) from error
        except (zlib.error, msgspec.DecodeError) as error:
            raise self._refusal(f"it is damaged ({error})") from error

    def _read(self, file: BinaryIO) -> Iterator[Rows]:
        if self._take(file, len(_MAGIC)) != _MAGIC:
            raise self._refusal("it is no file of `dagengine db backup`")
        head = self._read_frame(file)
        if not isinstance(head, Head):
            raise self._refusal("it is damaged (no head)")
        while isinstance(frame := self._read_frame(file), Rows):
            self._check_known([frame.table])
            self._n_rows[frame.table] += len(frame.rows)
            yield frame
        digest = self._digest.digest()
        is_whole = isinstance(frame, Foot) and file.read(_N_DIGEST_BYTES + 1) == digest
        if not is_whole:
            raise self._refusal("its digest is wrong: it was changed or is not whole")
        assert isinstance(frame, Foot)
        self._check_known(frame.n_rows)
        if {table: n for table, n in frame.n_rows.items() if n} != dict(self._n_rows):
            raise self._refusal("the number of its rows is not what its foot says")
        self.backup = Backup(
            head=head, n_rows=frame.n_rows, size_bytes=file.tell(), digest=digest.hex()
        )

    def _check_known(self, names: Iterable[str]) -> None:
        """Refuse tables that are not ours: the digest does not tell who wrote the file."""
        if unknown := set(names) - set(tables.metadata.tables):
            raise self._refusal(
                f"it holds a table {min(unknown)!r} that this version does not know; use a program "
                "that is at least as new"
            )

    def _read_frame(self, file: BinaryIO) -> Head | Rows | Foot:
        length = int.from_bytes(self._take(file, _N_LENGTH_BYTES), "big")
        if length > _LARGEST_FRAME_BYTES:
            raise self._refusal("it is damaged (a frame is too long)")
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(self._take(file, length), _LARGEST_FRAME_BYTES)
        if not unpacker.eof:
            raise self._refusal("it is damaged (a frame is not whole)")
        frame: Head | Rows | Foot = _decode(data)
        return frame

    def _take(self, file: BinaryIO, n_bytes: int) -> bytes:
        data = file.read(n_bytes)
        if len(data) != n_bytes:
            raise self._refusal("it ends too early: it is not whole")
        self._digest.update(data)
        return data

    def _refusal(self, problem: str) -> BackupUnusableError:
        return BackupUnusableError(str(self._source), problem)


def verify(source: Path) -> Backup:
    """Read a backup to its end; nothing of it is used before that. Raises `BackupUnusableError`."""
    reader = BackupReader(source)
    for _ in reader.read_rows():
        pass
    assert reader.backup is not None
    return reader.backup
