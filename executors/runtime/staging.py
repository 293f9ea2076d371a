"""Write an attempt's outputs aside and show them all at once.

A reader never sees half an artifact: files are written into a folder beside the attempt's own,
synced, and the folder is renamed. On a remote store an object appears whole, and nobody knows its
name before the outcome.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from executors.disks import sync_folder
from executors.runtime.errors import InvalidOutputError
from executors.store import (
    N_FOLDERS_ABOVE_ATTEMPT,
    get_local_path,
    is_local,
    join_url,
    open_filesystem,
)

COPY_BLOCK_BYTES = 1 << 20
_DIGEST_BLOCK_BYTES = 1 << 18
"""So small that what was digested still lies in the processor's cache when it is written."""
_WRITEBACK_BYTES = 8 << 20


class DigestingFile:
    """A file being written whose digest and size are known when it is closed.

    Of a large one the disk gets the beginning while the rest is still being digested; `close` then
    waits for what is left.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - closed by close
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self._n_begun_bytes = 0
        self.closed = False

    @property
    def sha256(self) -> str:
        """Digest of what was written so far."""
        return self._digest.hexdigest()

    def write(self, data: bytes | memoryview) -> int:
        """Write all of the data."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _DIGEST_BLOCK_BYTES):
            block = view[start : start + _DIGEST_BLOCK_BYTES]
            self._digest.update(block)
            written = 0
            while written < len(block):
                written += self._file.write(block[written:]) or 0
            self.size_bytes += written
            if self.size_bytes - self._n_begun_bytes >= _WRITEBACK_BYTES:
                self._begin_writeback()
        return len(view)

    def _begin_writeback(self) -> None:
        from executors.runtime.writeback import begin_writeback

        start, self._n_begun_bytes = self._n_begun_bytes, self.size_bytes
        begin_writeback(self._file.fileno(), start, self.size_bytes - start)

    def tell(self) -> int:
        """Return the position, which is the size."""
        return self.size_bytes

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def writable(self) -> bool:
        """Return true."""
        return True

    def readable(self) -> bool:
        """Return false."""
        return False

    def seekable(self) -> bool:
        """Return false: what was hashed cannot be written again."""
        return False

    def close(self) -> None:
        """Bring the bytes to the disk and close; doing it again is harmless."""
        if not self.closed:
            self.closed = True
            try:
                os.fsync(self._file.fileno())
            finally:
                self._file.close()


class StagedFolder:
    """The folder in which an attempt's outputs gather until all of them are complete.

    Parameters
    ----------
    url : str
        The attempt's own folder in the store; it appears with `commit`.
    make_workdir : callable
        Gives the private folder in which outputs for a remote store gather.
    """

    def __init__(self, url: str, make_workdir: Callable[[], Path]) -> None:
        self.url = url
        self.is_local = is_local(url)
        self._make_workdir = make_workdir
        self._names: list[str] = []
        self._path: Path | None = None

    def create_file(self, name: str) -> DigestingFile:
        """Open a new file of the folder for writing."""
        if self._path is None:
            self._path = self._make_folder()
        self._names.append(name)
        return DigestingFile(self._path / name)

    def get_url(self, name: str) -> str:
        """Return where a file of this name will lie."""
        return join_url(self.url, name)

    def commit(self) -> None:
        """Make what was written visible under the attempt's own folder."""
        if self._path is None:
            return
        if self.is_local:
            sync_folder(self._path)
            _move_into_place(self._path, Path(get_local_path(self.url)))
        else:
            filesystem, folder = open_filesystem(self.url)
            filesystem.makedirs(folder, exist_ok=True)
            for name in self._names:
                filesystem.put_file(str(self._path / name), f"{folder}/{name}")
            shutil.rmtree(self._path, ignore_errors=True)
        self._path = None

    def discard(self) -> None:
        """Remove what was written; after a commit there is nothing to remove."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            self._path = None

    def _make_folder(self) -> Path:
        suffix = f".tmp-{secrets.token_hex(6)}"
        if not self.is_local:
            path = self._make_workdir() / f"outputs{suffix}"
            path.mkdir(mode=0o700)
            return path
        target = Path(get_local_path(self.url))
        path = target.with_name(target.name + suffix)
        _make_parents(target.parent)
        _check_no_link(target)
        path.mkdir()
        return path


def _make_parents(folder: Path) -> None:
    """Make a folder with its parents so that they are still there after a power failure."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def _check_no_link(target: Path) -> None:
    """Raise where a link that somebody put into the store would lead what is written elsewhere."""
    for folder in target.parents[:N_FOLDERS_ABOVE_ATTEMPT]:
        if folder.is_symlink():
            raise InvalidOutputError(
                f"A link stands in the place of the store's folder {folder}.",
                "Remove it, and find out which operator made it.",
            )


def _move_into_place(fresh: Path, target: Path) -> None:
    try:
        os.rename(fresh, target)
    except OSError:
        if not target.is_dir():
            raise
        # The same attempt was carried out before and its end was never reported: the new files
        # take the place of the old ones, which nobody knows of.
        aside = target.with_name(f"{target.name}.tmp-{secrets.token_hex(6)}-old")
        os.rename(target, aside)
        os.rename(fresh, target)
        shutil.rmtree(aside, ignore_errors=True)
    sync_folder(target.parent)
