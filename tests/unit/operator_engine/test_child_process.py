from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from operator_engine.child_process import ChildProcess, ProcessSpec, trim_log
from operator_engine.launcher import make_child_environment
from tests.support.waiting import wait_until


def test_long_log_is_put_aside_and_the_oldest_dropped(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    for text in ("first", "second", "third", "fourth", "5"):
        path.write_text(text, encoding="utf-8")
        trim_log(path, 3)
    found = {item.name: item.read_text(encoding="utf-8") for item in tmp_path.iterdir()}
    assert found == {
        "one.log": "5",
        "one.log.1": "fourth",
        "one.log.2": "third",
        "one.log.3": "second",
    }


def test_log_that_cannot_be_emptied_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, size: int) -> None:
        raise PermissionError(path)

    path = tmp_path / "one.log"
    path.write_text("first", encoding="utf-8")
    monkeypatch.setattr(os, "truncate", refuse)
    trim_log(path, 3)
    assert path.read_text(encoding="utf-8") == "first"


def test_group_of_a_child_that_ends_just_before_it_is_asked_to_is_killed(tmp_path: Path) -> None:
    script = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\n"
    child = ChildProcess(
        ProcessSpec("one", [sys.executable, "-c", script]), tmp_path, dict(os.environ)
    )
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    wait_until(lambda: os.waitid(os.P_PIDFD, child.pidfd, ended) is not None)
    child.terminate()
    assert child.poll() == 0
    child.close()
    wait_until(lambda: not is_group_alive(child.pid))


def is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_children_do_not_inherit_what_only_the_configuration_reads() -> None:
    environment = {
        "PATH": "/bin",
        "DAGENGINE__DATABASE__URL": "mysql://u:p@h/d",
        "DAGENGINE__SECRETS__KEY": "key",
        "DAGENGINE_TOKEN": "token",
        "DAGENGINE_POOL": "mark",
    }
    assert make_child_environment(environment) == {"PATH": "/bin", "DAGENGINE_POOL": "mark"}
