"""Bring the bytes behind a reference to this machine, and check that they are what it says."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from executors.base import ArtifactRef
from executors.runtime.errors import InvalidInputError
from executors.runtime.staging import COPY_BLOCK_BYTES
from executors.store import get_local_path, is_local, open_filesystem

_GONE_HINT = "Run the operator that made it again (cache: refresh)."


def fetch_artifact(ref: ArtifactRef, store_url: str, make_workdir: Callable[[], Path]) -> Path:
    """Return a local file with an artifact's bytes.

    On this machine the size is checked, and that no link leads out of the store; what comes from
    elsewhere is copied and its digest is checked.
    """
    if is_local(ref.uri):
        return check_local_artifact(ref, store_url)
    check_below_store(ref.uri, store_url)
    return _copy_from_elsewhere(ref, make_workdir())


def check_artifact(ref: ArtifactRef, store_url: str) -> None:
    """Raise `InvalidInputError` unless an artifact is where it was stored, with the size it had.

    What travels inline is there. Elsewhere the store is asked; its bytes are not fetched.
    """
    if ref.inline is not None:
        return
    if is_local(ref.uri):
        check_local_artifact(ref, store_url)
        return
    check_below_store(ref.uri, store_url)
    filesystem, path = open_filesystem(ref.uri)
    try:
        size_bytes = int(filesystem.info(path)["size"])
    except FileNotFoundError as error:
        raise InvalidInputError(f"The artifact {ref.uri} is gone.", _GONE_HINT) from error
    check_size(ref.uri, size_bytes, ref.size_bytes)


def check_local_artifact(ref: ArtifactRef, store_url: str) -> Path:
    """Return the path of an artifact on this machine; raise unless it is what was stored.

    A file with a second name may be one from elsewhere that was put in its place (a hard link), so
    its digest is checked too; where backups make such names, that only costs time.
    """
    path = Path(get_local_path(ref.uri))
    check_local_file(path, get_local_path(store_url) if is_local(store_url) else "")
    found = path.stat()
    check_size(ref.uri, found.st_size, ref.size_bytes)
    if found.st_nlink > 1:
        with path.open("rb") as file:
            _check_digest(ref, hashlib.file_digest(file, "sha256").hexdigest())
    return path


def check_local_file(path: Path, root: str) -> None:
    """Raise unless the path is a plain file that is reached from the root without any link."""
    try:
        is_plain = stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError as error:
        raise InvalidInputError(f"The artifact {path} is gone.", _GONE_HINT) from error
    if not is_plain:
        raise InvalidInputError(f"The artifact {path} is not a plain file.", _GONE_HINT)
    if not root:
        return
    absolute_root = os.path.abspath(root)
    relative = os.path.relpath(os.path.abspath(path), absolute_root)
    expected = os.path.join(os.path.realpath(absolute_root), relative)
    if relative.startswith("..") or os.path.realpath(path) != expected:
        raise InvalidInputError(
            f"The artifact {path} does not lie in the store {root}, or a link stands in its path.",
            "All operator engines of a dag engine must use one store.",
        )


def check_size(uri: str, actual: int, declared: int) -> None:
    """Raise unless a file has the size that its reference declares."""
    if actual != declared:
        raise InvalidInputError(
            f"The artifact {uri} has {actual} bytes; {declared} were stored.", _GONE_HINT
        )


def copy_stream(source: object, target: object) -> str:
    """Copy all bytes from one open file to another and return their digest."""
    digest = hashlib.sha256()
    while block := source.read(COPY_BLOCK_BYTES):  # type: ignore[attr-defined]  # any file object
        digest.update(block)
        target.write(block)  # type: ignore[attr-defined]  # any file object
    return digest.hexdigest()


def check_below_store(uri: str, store_url: str) -> None:
    """Raise unless an artifact that is not on this machine lies in the store."""
    if not uri.startswith(store_url.rstrip("/") + "/") or "/../" in uri:
        raise InvalidInputError(
            f"The artifact {uri} does not lie in the store {store_url}.",
            "All operator engines of a dag engine must use one store.",
        )


def _copy_from_elsewhere(ref: ArtifactRef, workdir: Path) -> Path:
    folder = workdir / "inputs"
    folder.mkdir(exist_ok=True)
    target = folder / f"{ref.sha256[:24]}{Path(ref.uri).suffix}"
    if target.exists():
        return target
    filesystem, path = open_filesystem(ref.uri)
    partial = target.with_suffix(".part")
    try:
        with filesystem.open(path, "rb") as source, partial.open("wb") as file:
            digest = copy_stream(source, file)
    except FileNotFoundError as error:
        raise InvalidInputError(f"The artifact {ref.uri} is gone.", _GONE_HINT) from error
    check_size(ref.uri, partial.stat().st_size, ref.size_bytes)
    _check_digest(ref, digest)
    partial.rename(target)
    return target


def _check_digest(ref: ArtifactRef, digest: str) -> None:
    if digest != ref.sha256:
        raise InvalidInputError(
            f"The artifact {ref.uri} is not what was stored: its digest is {digest[:12]}…, "
            f"{ref.sha256[:12]}… was recorded.",
            _GONE_HINT,
        )
