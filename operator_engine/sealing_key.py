"""The key pair by which secrets reach this operator engine: `<home>/sealing.key`, mode 0600.

The launcher sees to it before any process starts. Main announces the public half, the execution
process opens with the private one. Nothing that is kept needs it: one that is lost or that others
could read is replaced, and the tasks that were under way fail by name.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from executors.errors import SealError
from executors.private_files import write_private_bytes

log = logging.getLogger(__name__)

FILE_NAME = "sealing.key"


def ensure_sealing_key(home: str | Path) -> None:
    """Make the key pair where there is none that is private and whole."""
    path = Path(home) / FILE_NAME
    if path.exists():
        try:
            _read(path)
        except SealError as error:
            log.warning("sealing_key_replaced detail=%s", error)
        else:
            return
    from executors.sealing import make_private_key, public_key_of

    private = make_private_key()
    # Both halves, so that main announces its key without loading a cipher library.
    write_private_bytes(path, f"{private}\n{public_key_of(private)}\n".encode("ascii"))


def read_public_key(home: str | Path) -> str:
    """Return the public half; empty where there is none: then no secrets come this way."""
    try:
        return _read(Path(home) / FILE_NAME)[1]
    except SealError as error:
        log.warning("sealing_key_missing detail=%s", error)
        return ""


def read_private_key(home: str | Path) -> str:
    """Return the private half. Raises `SealError` where it cannot be had."""
    return _read(Path(home) / FILE_NAME)[0]


def _read(path: Path) -> tuple[str, str]:
    try:
        with path.open("r", encoding="ascii") as file:
            found = os.fstat(file.fileno())
            words = file.read(1000).split()
    except (OSError, UnicodeDecodeError) as error:
        raise SealError(f"The sealing key {path} cannot be read: {error}.") from error
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise SealError(f"Others than this user can use the sealing key {path}.")
    if len(words) != 2:
        raise SealError(f"The sealing key {path} is damaged.")
    return words[0], words[1]
