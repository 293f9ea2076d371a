"""What processes use is measured on real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.processes import (
    ProcessUse,
    describe_command,
    measure_idle_share,
    measure_tree,
    sum_cpu_by_name,
    wait_until_settled,
)
from tests.support.waiting import wait_until


@contextmanager
def running(script: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_own_tree_holds_this_process_with_its_memory_and_time() -> None:
    use = measure_tree(os.getpid())[os.getpid()]
    assert use.pss_mb > 5
    assert use.cpu_s > 0


def test_busy_process_has_a_larger_share_than_a_sleeping_one() -> None:
    with running("while True: pass") as busy, running("import time; time.sleep(60)") as sleeping:
        busy_share, _ = measure_idle_share(busy, 0.4)
        sleeping_share, _ = measure_idle_share(sleeping, 0.4)
    assert 5 < busy_share <= 110
    assert sleeping_share < busy_share


def test_time_of_a_thread_and_of_a_child_that_have_ended_still_counts() -> None:
    burn = "import time; end = time.process_time() + 0.15\nwhile time.process_time() < end: pass"
    script = (
        "import subprocess, sys, threading, time\n"
        f"burn = {burn!r}\n"
        "thread = threading.Thread(target=exec, args=(burn, {}))\n"
        "thread.start(); thread.join()\n"
        "subprocess.run([sys.executable, '-c', burn], check=True)\n"
        "time.sleep(60)\n"
    )
    with running(script) as pid:
        wait_until(lambda: sum(use.cpu_s for use in measure_tree(pid).values()) > 0.28, 20)
        assert wait_until_settled(pid, 0.3, 10)
        assert sum(use.cpu_s for use in measure_tree(pid).values()) > 0.28


def test_tree_that_never_rests_is_not_settled() -> None:
    script = (
        "import subprocess, sys\n"
        "while True: subprocess.run([sys.executable, '-c', 'import time; time.sleep(0.2)'])\n"
    )
    with running(script) as pid:
        assert not wait_until_settled(pid, 2.0, 1.0)


def test_process_that_has_ended_has_no_tree() -> None:
    with running("pass") as pid:
        pass
    assert measure_tree(pid) == {}


def test_time_is_summed_by_name_and_a_new_process_counts_from_its_start() -> None:
    before = {1: ProcessUse("a", 1.0, 0), 2: ProcessUse("b", 5.0, 0)}
    after = {1: ProcessUse("a", 1.5, 0), 3: ProcessUse("a", 0.25, 0), 2: ProcessUse("b", 6.0, 0)}
    assert sum_cpu_by_name(before, after) == {"b": 1.0, "a": 0.75}


def test_time_of_a_process_that_ended_meanwhile_counts_once() -> None:
    before = {1: ProcessUse("parent", 1.0, 0), 2: ProcessUse("child", 5.0, 0)}
    after = {1: ProcessUse("parent", 6.25, 0)}  # the child's 5.25 s are the parent's now
    used = sum_cpu_by_name(before, after)
    assert sum(used.values()) == 0.25


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (
            ["/x/.venv/bin/python", "-m", "dag_engine.scheduler", "/h/s.json"],
            "dag_engine.scheduler",
        ),
        (["/x/.venv/bin/python3", "/x/.venv/bin/dagengine", "serve"], "dagengine"),
        (["/usr/bin/python3"], "python3"),
    ],
)
def test_process_is_named_by_what_it_runs(command: list[str], name: str) -> None:
    assert describe_command(command) == name
