import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from executors.local import proctree
from tests.support.waiting import wait_until

SCRIPT = """
import os, sys, time
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        os.fork()
        break
sys.stdout.write("x")
sys.stdout.flush()
time.sleep(60)
"""


@pytest.fixture
def surname() -> str:
    """What only this test's family is called: other tests have theirs at the same time."""
    return f"数-{uuid.uuid4().hex}"


@pytest.fixture
def family(surname: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with two children and two grandchildren, in sessions of their own."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, surname],
        stdout=subprocess.PIPE,
        env={**os.environ, "FAMILY": surname},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"xxxxx"
        yield process
        proctree.kill_trees([process.pid])


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_descendants_are_found_in_other_sessions_too(family: subprocess.Popen[bytes]) -> None:
    found = proctree.descendants_of(family.pid)
    assert len(found) == 4
    assert len(proctree.children_of(family.pid)) == 2
    for pid in found:
        assert family.pid in proctree.ancestors_of(pid)


def test_children_are_found_without_the_kernel_s_list(
    family: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = proctree.children_of(family.pid)
    monkeypatch.setattr(proctree, "_KERNEL_LISTS_CHILDREN", False)
    assert sorted(proctree.children_of(family.pid)) == sorted(listed)


def test_whole_tree_is_killed(family: subprocess.Popen[bytes]) -> None:
    tree = [family.pid, *proctree.descendants_of(family.pid)]
    proctree.kill_trees([family.pid])
    wait_until(lambda: all(is_gone(pid) for pid in tree))


def test_processes_are_found_by_environment_or_command_line(
    family: subprocess.Popen[bytes], surname: str
) -> None:
    tree = {family.pid, *proctree.descendants_of(family.pid)}
    assert set(proctree.find_marked(f"FAMILY={surname}", ["no such argument"])) == tree
    assert set(proctree.find_marked("NO=1", [surname, "-c"])) == tree
    assert proctree.find_marked("NO=1", [surname, "other"]) == []


def test_memory_of_a_process_that_has_ended_is_nothing() -> None:
    assert proctree.own_memory_bytes(2**22 + 1) == 0
    assert proctree.own_memory_bytes(os.getpid()) > 1024 * 1024
    assert proctree.proportional_memory_bytes(os.getpid()) > 0


def test_who_waits_for_a_core_is_not_asleep(family: subprocess.Popen[bytes]) -> None:
    tree = [family.pid, *proctree.descendants_of(family.pid)]
    wait_until(lambda: proctree.is_asleep(tree))
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        wait_until(lambda: not proctree.is_asleep([*tree, busy.pid]))
        busy.kill()
    assert proctree.is_asleep([busy.pid]), "it has ended"


def test_child_that_could_not_be_stopped_is_not_killed_by_its_number(
    family: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = 2**22 + 1  # by now the number may be another process's
    find, send = proctree.children_of, proctree.send_signal
    signalled: set[int] = set()

    def note(pids: Iterable[int], number: signal.Signals) -> None:
        signalled.update(pids)
        send(pids, number)

    monkeypatch.setattr(proctree, "children_of", lambda pid: [*find(pid), ended])
    monkeypatch.setattr(proctree, "send_signal", note)
    proctree.kill_trees([family.pid])
    assert family.pid in signalled
    assert ended not in signalled
