"""What a test and a process of the service tell each other through files.

Of each role there is `<role>.plan` (what shall happen) and `<role>.hits` (the points that were
passed since it was armed, one line each); `<role>.fired` gets a line for each fault.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Plan:
    """What shall happen in the processes of one role.

    `action` is `count` (nothing happens), `kill` or `stop` (the process does so to itself `when`
    it passes the points of the numbers `at`, counted from 1 over all processes of the role),
    `ambiguous` (a
    commit is carried out and then raises, at `rate`) or `error` (a statement raises one of `codes`
    instead of being carried out, at `rate`).
    """

    action: str = "count"
    when: str = "before"
    at: tuple[int, ...] = ()
    rate: float = 0.0
    codes: tuple[int, ...] = ()
    serial: int = 0

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def decode(text: str) -> Plan:
        values: dict[str, Any] = json.loads(text)
        return Plan(**{**values, "at": tuple(values["at"]), "codes": tuple(values["codes"])})


def plan_path(folder: Path, role: str) -> Path:
    return folder / f"{role}.plan"


def hits_path(folder: Path, role: str) -> Path:
    return folder / f"{role}.hits"


def fired_path(folder: Path, role: str) -> Path:
    return folder / f"{role}.fired"


@contextmanager
def locked(folder: Path, role: str) -> Iterator[None]:
    """One at a time; the lock ends with the process, however that ends."""
    descriptor = os.open(folder / f"{role}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def append_line(path: Path, line: str) -> None:
    """Add a line in one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
