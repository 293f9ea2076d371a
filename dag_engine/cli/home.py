"""The folder of an installation: its folders, its secret, the lasting name of its engine."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dag_engine.cli.errors import ServiceError
from executors.private_files import write_private_bytes

_FOLDERS = ("run", "logs/services", "spool", "work")


@dataclass(frozen=True, slots=True)
class Home:
    """What was found or made at the first start."""

    path: Path
    secret: str
    engine_id: str


def prepare_home(path: Path) -> Home:
    """Make the folder with its secret and engine id, or take those that are there."""
    try:
        # what operators read and write is nobody else's business
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in _FOLDERS:
            (path / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = _keep(path / "secret", secrets.token_hex(32))
        host = socket.gethostname().partition(".")[0] or "engine"
        engine_id = _keep(path / "engine_id", f"{host}-{secrets.token_hex(3)}")
    except OSError as error:
        raise ServiceError(
            f"The home folder {path} cannot be used: {error.strerror} ({error.filename}).",
            "Name another with --home.",
        ) from error
    return Home(path, secret, engine_id)


def _keep(path: Path, new: str) -> str:
    """Read a small private file; where there is none, make it, whole or not at all."""
    if not path.exists():
        write_private_bytes(path, f"{new}\n".encode("ascii"), may_replace=False, is_lasting=True)
    found = path.read_text(encoding="ascii").strip()
    if not found:
        raise ServiceError(f"{path} is empty.", "Put back its content from a backup.")
    return found


@contextmanager
def lock_home(path: Path) -> Iterator[None]:
    """Let no service use the folder within the block; refuse where one does."""
    from operator_engine.errors import HomeInUseError
    from operator_engine.launcher import HomeLock

    try:
        lock = HomeLock(path)
    except HomeInUseError as error:
        raise ServiceError(str(error)) from error
    try:
        yield
    finally:
        lock.release()
