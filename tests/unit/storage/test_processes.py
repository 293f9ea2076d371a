"""Killing exactly the process that is meant."""

from __future__ import annotations

import os
import subprocess
import sys

from dag_engine.storage import processes


def test_only_the_process_with_pid_and_start_is_killed() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = processes.started_at(child.pid)
    assert started > 0
    assert not processes.kill_process(child.pid, started + 1)
    assert child.poll() is None
    assert processes.kill_process(child.pid, started)
    child.communicate()
    assert child.returncode == -9
    assert not processes.kill_process(child.pid, started)


def test_neither_ourselves_nor_init_are_ever_killed() -> None:
    assert not processes.kill_process(os.getpid(), processes.started_at(os.getpid()))
    assert not processes.kill_process(1, 1)
    assert not processes.kill_process(0, 1)


def test_a_host_is_named_with_its_boot_and_pid_namespace() -> None:
    name, boot, namespace = processes.this_host().rsplit(" ", 2)
    assert name
    assert len(boot) == 36
    assert namespace.startswith("pid:[")


def test_only_what_ran_here_is_known_to_be_dead() -> None:
    here, started = processes.this_host(), processes.started_at(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child_started = processes.started_at(child.pid)
    assert not processes.is_surely_dead(here, os.getpid(), started)
    assert not processes.is_surely_dead(here, child.pid, child_started)
    child.communicate()
    assert processes.is_surely_dead(here, child.pid, child_started)
    assert processes.is_surely_dead(here, os.getpid(), started - 1)
    assert not processes.is_surely_dead("another-host boot pid:[1]", child.pid, child_started)
    assert not processes.is_surely_dead("", 0, 0)
