"""What a tree of processes uses: processor time and memory, from /proc."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What a process has used up to now."""

    name: str
    cpu_s: float
    pss_mb: float


def measure_tree(pid: int) -> dict[int, ProcessUse]:
    """Measure a process and all its descendants, by process id."""
    uses = {}
    for process in _walk(pid):
        try:
            uses[process.pid] = ProcessUse(
                describe_command(process.cmdline()), _read_cpu(process), _read_pss_mb(process.pid)
            )
        except (psutil.Error, OSError):
            continue  # it has ended meanwhile
    return uses


def measure_idle_share(pid: int, seconds: float) -> tuple[float, dict[str, float]]:
    """Measure which share of one core a tree of processes uses while nothing is asked of it.

    Returns the whole and the shares by process, in percent.
    """
    before = measure_tree(pid)
    began = time.perf_counter()
    time.sleep(seconds)
    after = measure_tree(pid)
    took = time.perf_counter() - began
    used = sum_cpu_by_name(before, after)
    shares = {name: 100 * cpu_s / took for name, cpu_s in used.items()}
    return sum(shares.values()), shares


def wait_until_settled(pid: int, quiet_s: float, timeout_s: float) -> bool:
    """Wait until no process of a tree has come or gone for `quiet_s`; false if that never was."""
    deadline = time.monotonic() + timeout_s
    pids: set[int] = set()
    quiet_since = time.monotonic()
    while time.monotonic() < deadline:
        found = {process.pid for process in _walk(pid)}
        if found != pids:
            pids, quiet_since = found, time.monotonic()
        elif time.monotonic() - quiet_since >= quiet_s:
            return True
        time.sleep(0.1)
    return False


def sum_cpu_by_name(
    before: dict[int, ProcessUse], after: dict[int, ProcessUse]
) -> dict[str, float]:
    """Sum up the processor seconds between two measurements, largest first.

    What ended in between is part of its parent by now: what it had used before goes off there.
    """
    used: dict[str, float] = {}
    for uses, sign in ((after, 1), (before, -1)):
        for use in uses.values():
            used[use.name] = used.get(use.name, 0.0) + sign * use.cpu_s
    return dict(sorted(used.items(), key=lambda item: -item[1]))


def describe_command(command: list[str]) -> str:
    """Name a process by the module or program that it runs."""
    words = [Path(word).name for word in command if word]
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    named = [word for word in words if not word.startswith(("-", "python"))]
    return named[0].removesuffix(":") if named else " ".join(words)


def _walk(pid: int) -> Iterator[psutil.Process]:
    try:
        root = psutil.Process(pid)
        yield root
        yield from root.children(recursive=True)
    except psutil.NoSuchProcess:
        return


def _read_cpu(process: psutil.Process) -> float:
    """Tell the processor time of a process with all its threads, those that have ended too, and
    of its children that have ended: so the sum over a tree never falls.
    """
    times = process.cpu_times()
    try:
        # The kernel's clock of another process: its negated id, and 2 for time on the processor.
        own_s = time.clock_gettime((~process.pid << 3) | 2)
    except OSError:
        own_s = times.user + times.system  # exact to a hundredth of a second only
    return float(own_s + times.children_user + times.children_system)


def _read_pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
