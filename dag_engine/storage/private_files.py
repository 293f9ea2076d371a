"""Small private files that are there whole or not at all, and outlive a power failure."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_private(path: Path, text: str, *, may_replace: bool) -> None:
    """Write a file, whole or not at all; mode 0600 from the first byte on. One that is there
    already stays, unless it may be replaced.
    """
    # mkstemp makes the file 0600
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if may_replace:
            os.replace(partial, path)
        else:
            # Of two first starts at once one wins, and both read the same.
            with contextlib.suppress(FileExistsError):
                os.link(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was put into this folder outlive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
