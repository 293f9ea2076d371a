"""The disks on which a service's folders lie: how full they are, and what is on them for good."""

from __future__ import annotations

import os
from collections.abc import Mapping

from executors.facts import Disk


def measure_disks(folders: Mapping[str, str]) -> dict[str, Disk]:
    """Measure the file system of each folder, by name; what cannot be measured is left out.

    A folder that is not there yet is looked for at its parents.
    """
    found = {}
    for name, folder in folders.items():
        path = os.path.abspath(folder)
        while not os.path.exists(path) and path != "/":
            path = os.path.dirname(path)
        try:
            status = os.statvfs(path)
        except OSError:
            continue
        found[name] = Disk(
            # what an ordinary user may still write, as `df` tells it
            free_bytes=status.f_bavail * status.f_frsize,
            total_bytes=status.f_blocks * status.f_frsize,
        )
    return found


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make what was put into this folder outlive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
