"""How full the disks are on which a service's folders lie."""

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
