"""Gives a service a wall clock of its own, which a test sets; all other clocks stay right.

A small library (wrong_clock.c) is loaded into the service before everything else, and handed on to
all its processes: the code under test is unchanged, SQLite's own look at the clock included. It is
compiled here, since libfaketime 0.9.10 breaks every sleep until a moment of the monotonic clock.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_suffix(".c")
_NANOSECONDS = 10**9


def build_library(folder: Path) -> Path:
    """Compile it; without a compiler the test is skipped, and fails where CI is set."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        message = "no C compiler for the wrong clock: apt-get install gcc libc6-dev"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    library = folder / "wrong_clock.so"
    command = [compiler, "-O2", "-Wall", "-Werror", "-fPIC", "-shared", "-o", library, _SOURCE]
    subprocess.run(command, check=True, timeout=60)
    return library


class WrongClock:
    """The clock of whatever is started with its `environment`; right until it is set."""

    def __init__(self, library: Path, path: Path) -> None:
        self._path = path
        path.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "WRONG_CLOCK_FILE": str(path)}

    def set(self, offset_s: float) -> None:
        """Let it be wrong by so much from now on; every process sees it at its next look."""
        with self._path.open("r+b", buffering=0) as file:
            file.write(struct.pack("=q", round(offset_s * _NANOSECONDS)))


def make_clocks(folder: Path, n: int) -> list[WrongClock]:
    """Make clocks that are right."""
    library = build_library(folder)
    return [WrongClock(library, folder / f"clock_{i}") for i in range(n)]
