"""Files that only this user may read: tokens, keys and passwords may stand in them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_private_bytes(path: Path, data: bytes) -> None:
    """Write a file that only this user may read, in one step; nothing is left where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file 0600 from the first.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
