"""A small file system of its own, which a test can fill to the last byte."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_BLOCK = b"\0" * 65536


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A tmpfs that is mounted at `path`."""

    path: Path

    def fill(self) -> None:
        """Leave not one byte free."""
        with (self.path / "ballast").open("ab", buffering=0) as ballast:
            for size_bytes in (len(_BLOCK), 4096, 1):
                with contextlib.suppress(OSError):
                    while ballast.write(_BLOCK[:size_bytes]):
                        pass

    def free(self) -> None:
        """Give all back that `fill` took."""
        (self.path / "ballast").unlink()


@contextlib.contextmanager
def mount_small_disk(path: Path, size_mb: int) -> Iterator[SmallDisk]:
    """Mount a disk of this size; skips the test where that is not allowed, and fails it in CI."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=0755", "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        message = f"no tmpfs can be mounted here (that needs root): {done.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
