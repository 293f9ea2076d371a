"""Where and on what was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]


def describe_machine(folder: Path) -> dict[str, Any]:
    """Describe the machine, the Python, and the file system on which homes are made."""
    return {
        "processor": _find_processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": round(psutil.virtual_memory().total / 2**20),
        "system": platform.platform(),
        "python": platform.python_version(),
        "file_system": _find_file_system(folder),
        "load_before": [round(value, 2) for value in os.getloadavg()],
    }


def describe_commit() -> dict[str, Any]:
    """Tell the commit, and whether anything in the tree differs from it."""
    try:
        commit = _ask_git("rev-parse", "HEAD")
        changes = _ask_git("status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return {"id": "", "is_changed": None}  # not a clone
    return {"id": commit, "is_changed": bool(changes)}


def _ask_git(*words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _find_processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _find_file_system(folder: Path) -> str:
    """Tell the type of the file system: a commit costs nothing on tmpfs."""
    mounts = [
        (partition.mountpoint, partition.fstype) for partition in psutil.disk_partitions(all=True)
    ]
    fitting = [(mount, kind) for mount, kind in mounts if folder.resolve().is_relative_to(mount)]
    return max(fitting, key=lambda item: len(item[0]))[1] if fitting else ""
