"""Takes a file in as it comes: into the store's own disk, with its digest, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from flask import request
from werkzeug.exceptions import HTTPException
from werkzeug.formparser import FormDataParser

from dag_engine.api.errors import (
    BadRequestError,
    DiskFullError,
    TooLargeError,
    UnprocessableError,
)
from dag_engine.api.sources import Source, safe_filename
from executors.disks import sync_folder
from executors.store import get_local_path, is_local, join_url, make_dataset_folder, open_url

_CHUNK_BYTES = 1024 * 1024
# the parser also counts the pieces of 64 KiB that it cuts a file into
_FORM_LIMIT_BYTES = 512 * 1024
_PART_LIMIT = 20
_LEFTOVER_S = 24 * 3600.0


def spare_folder(home: Path) -> Path:
    """Return the folder in which uploads are received where the store is elsewhere."""
    return home / "work" / "uploads"


def incoming_folder(store_url: str, spare: Path) -> Path:
    """Return the folder in which uploads are received."""
    if is_local(store_url):
        return Path(get_local_path(store_url)) / "datasets" / ".incoming"
    return spare


def remove_leftovers(store_url: str, spare: Path, now: float) -> None:
    """Remove what uploads left behind whose process was killed; `now` in seconds of the epoch."""
    folder = incoming_folder(store_url, spare)
    for path in folder.glob("*"):
        if path.stat().st_mtime < now - _LEFTOVER_S:
            path.unlink(missing_ok=True)


class _Incoming:
    """One file that is being received: written, counted and digested piece by piece."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / secrets.token_hex(16)
        self._file: IO[bytes] = open(self.path, "xb")  # noqa: SIM115 - closed by `finish`
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        """Take a piece (the form parser's face of a file)."""
        self._digest.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)

    def seek(self, position: int, whence: int = 0) -> int:
        """Do nothing: the form parser rewinds what it has written; nobody reads it here."""
        del position, whence
        return 0

    def finish(self) -> str:
        """Put it safely on the disk and return its digest."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return self._digest.hexdigest()

    def discard(self) -> None:
        """Remove it, where it was not moved away."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Upload:
    """The multipart body of this request; what it received and was not kept is removed at exit.

    Parameters
    ----------
    store_url : str
        The artifact store; a local one receives on its own disk, so that a move is enough.
    spare : Path
        Folder to receive in where the store is elsewhere.
    limit_bytes : int
        How large the body may be.
    """

    def __init__(self, store_url: str, spare: Path, limit_bytes: int) -> None:
        self._store_url = store_url
        self._limit_bytes = limit_bytes
        self._incoming: list[_Incoming] = []
        self._folder = incoming_folder(store_url, spare)
        self.fields: dict[str, str] = {}
        self.filename = ""

    def __enter__(self) -> Self:
        try:
            self._receive()
        except BaseException as error:
            self._discard()
            raise _translate(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        for incoming in self._incoming:
            incoming.discard()

    def _receive(self) -> None:
        request.max_content_length = self._limit_bytes
        parser = FormDataParser(
            stream_factory=self._open,
            max_form_memory_size=_FORM_LIMIT_BYTES,
            max_content_length=self._limit_bytes,
            silent=False,
            max_form_parts=_PART_LIMIT,
        )
        _, form, files = parser.parse(
            request.stream, request.mimetype, request.content_length, request.mimetype_params
        )
        self.fields = {name: values[-1] for name, values in form.lists()}
        found = files.getlist("file")
        if len(found) != 1 or len(self._incoming) != 1 or not found[0].filename:
            raise UnprocessableError(
                "bad_upload",
                f"The form was expected to hold one file, as `file`; {len(self._incoming)} came.",
                "curl -F file=@data.csv -F id=… -F name=… URL",
            )
        self.filename = safe_filename(found[0].filename)
        self._incoming[0].finish()

    def _open(self, *_: Any, **__: Any) -> Any:
        if len(self._incoming) >= 1:
            raise UnprocessableError("bad_upload", "One file at a time is taken.")
        self._incoming.append(_Incoming(self._folder))
        return self._incoming[0]

    @property
    def source(self) -> Source:
        """What was received; its place is not decided yet."""
        incoming = self._incoming[0]
        return Source("", self.filename, incoming.size_bytes, incoming.finish())

    def keep(self, namespace: str, dataset_id: str, version: int) -> str:
        """Move the file to its place in the store and return its URL."""
        folder = make_dataset_folder(self._store_url, namespace, dataset_id, version)
        target = join_url(folder, self.filename)
        incoming = self._incoming[0]
        if not is_local(target):
            _copy(incoming.path, lambda: open_url(target, "wb"))
            return target
        place = Path(get_local_path(target))
        place.parent.mkdir(parents=True, exist_ok=True)
        incoming.path.replace(place)
        for changed in list(place.parents)[:4]:
            sync_folder(changed)
        return target


def _copy(path: Path, open_target: Callable[[], IO[Any]]) -> None:
    with open(path, "rb") as source, open_target() as target:
        while chunk := source.read(_CHUNK_BYTES):
            target.write(chunk)


def _translate(error: BaseException) -> BaseException:
    """Say what went wrong in receiving in terms of the API."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError("disk_full", "The store has no room for this file.")
    if isinstance(error, HTTPException) and error.code == 413:
        return TooLargeError("body_too_large", "The upload is larger than the service takes.")
    if isinstance(error, ValueError):
        return BadRequestError("bad_upload", f"The body is no multipart form: {error}.")
    return error
