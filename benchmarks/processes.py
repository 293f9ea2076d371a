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


def sum_cpu_by_name(
    before: dict[int, ProcessUse], after: dict[int, ProcessUse]
) -> dict[str, float]:
    """Sum up the processor seconds between two measurements, largest first."""
    used: dict[str, float] = {}
    for pid, use in after.items():
        earlier = before[pid].cpu_s if pid in before else 0.0
        used[use.name] = used.get(use.name, 0.0) + use.cpu_s - earlier
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
    """Add up the threads' time on the processor: in nanoseconds where the kernel keeps them."""
    total_ns = 0
    for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
        total_ns += int(path.read_text().split()[0])
    if total_ns:
        return total_ns / 1e9
    times = process.cpu_times()
    return float(times.user + times.system)


def _read_pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
