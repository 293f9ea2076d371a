"""What all tests share: how hypothesis draws, and that nothing is left behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import closing_lines
from tests.support.length import IS_LONG
from tests.support.waiting import wait_until

settings.register_profile(
    "default",
    deadline=None,  # other processes share the machine
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("long") and not IS_LONG:
        pytest.skip("runs with `make faults`")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the closing lines that tests recorded, also those of other processes and of failures."""
    reports = (report for found in terminalreporter.stats.values() for report in found)
    lines = [
        str(value)
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == closing_lines.NAME
    ]
    if lines:
        terminalreporter.section("closing lines")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a process, or a thread that would keep the program from ending."""
    processes_before = _find_children()
    threads_before = set(threading.enumerate())
    yield

    def find_processes() -> list[str]:
        return [_describe(pid) for pid in _find_children() - processes_before if _is_alive(pid)]

    def find_threads() -> list[str]:
        return [
            thread.name
            for thread in threading.enumerate()
            if thread not in threads_before and not thread.daemon
        ]

    wait_until(lambda: not find_processes(), 5, lambda: f"left behind: {find_processes()}")
    wait_until(lambda: not find_threads(), 5, lambda: f"threads left behind: {find_threads()}")


def _find_children() -> set[int]:
    """Find this process's own children; /proc answers in microseconds, before every test."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found.update(map(int, (task / "children").read_text().split()))
        except OSError:
            continue  # the thread has ended
    return found


def _is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _describe(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return str(pid)
    return f"{pid} {command.decode(errors='replace')[:200]}"
