"""Files that only this user may read: tokens, keys and passwords may stand in them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from executors.disks import sync_folder


def write_private_bytes(
    path: Path, data: bytes, *, may_replace: bool = True, is_lasting: bool = False
) -> None:
    """Write a file that only this user may read, in one step; nothing is left where that fails.

    Parameters
    ----------
    path : Path
        The file; its folder is made.
    data : bytes
        What it is to hold.
    may_replace : bool, optional
        Whether it takes the place of one that is there; else that one stays, without an error.
    is_lasting : bool, optional
        Whether it is to outlive a power failure.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file 0600 from the first.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "wb") as file:
            file.write(data)
            if is_lasting:
                file.flush()
                os.fsync(file.fileno())
        if may_replace:
            os.replace(temporary, path)
        else:
            # Of two first starts at once one wins, and both read the same.
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    if is_lasting:
        sync_folder(path.parent)
