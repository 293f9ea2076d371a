"""A process that was just forked cannot outlive the supervisor that it is meant for."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, sys, time
from executors.local import birth
birth._ADOPTION_DEADLINE_S = 3600.0
birth.linux.adopt_orphans()
supervisor = int(sys.argv[1]) or os.getpid()
reading, writing = os.pipe()
between = os.fork()
if between == 0:
    between = os.getpid()
    if os.fork() == 0:
        birth.leave_parent(writing, supervisor, between)
        os.write(writing, b"lives on")
        os._exit(0)
    time.sleep(0.3)  # it ends only when the worker waits for that
    os._exit(0)
os.close(writing)
os.waitpid(between, 0)
print(os.read(reading, 10).decode())
"""


def bear(supervisor: int) -> str:
    """Tell what a worker says that a process between forked for this supervisor; 0: its own."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(supervisor)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip()


@pytest.fixture
def dead_pid() -> int:
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


def test_a_worker_whose_supervisor_lives_goes_on() -> None:
    assert bear(0) == "lives on"


def test_a_worker_whose_supervisor_died_during_its_birth_ends_at_once(dead_pid: int) -> None:
    assert bear(dead_pid) == ""
