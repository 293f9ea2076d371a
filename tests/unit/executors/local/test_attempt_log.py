"""The log of an attempt that wrote nothing serves the next one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from executors.local.unnamed_logs import UnnamedLogs

HEAD = """
import contextlib, json, os, sys
from executors.local.attempt_log import AttemptLog
from executors.local.unnamed_logs import UnnamedLogs
logs = sys.argv[1]
told = os.fdopen(os.dup(1), "w")
unnamed = UnnamedLogs(logs, "/run/pool.sock")
spare = unnamed.path(os.getpid())
log = AttemptLog(logs, unnamed)

def attempt(name, text="", *, may_be_reused=True):
    log.begin(name)
    inode = os.fstat(1).st_ino
    os.write(1, text.encode())
    return [inode, log.end(may_be_reused=may_be_reused)]

def tell(value):
    json.dump(value, told)
    told.close()
"""


def run(logs: Path, script: str) -> Any:
    """Run a script whose output goes to logs; give what it tells."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script, str(logs)], stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def texts(logs: Path) -> dict[str, str]:
    return {str(path.relative_to(logs)): path.read_text() for path in logs.glob("[!.]*/*.log")}


def test_an_empty_log_serves_the_next_attempt_and_one_with_text_gets_a_name(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
tell([attempt("ra.0.1"), attempt("rb.0.1", "b"), attempt("rb.1.1"), attempt("rb.2.1", "c")])
""",
    )
    assert texts(tmp_path) == {"rb/0.1.log": "b", "rb/2.1.log": "c"}
    (first, size), (second, other_size), (third, _), (fourth, _) = told
    assert (size, other_size) == (0, 1)
    assert first == second != third == fourth


def test_a_log_that_something_else_may_write_to_is_not_reused(tmp_path: Path) -> None:
    is_reused = run(
        tmp_path,
        """
first, _ = attempt("r.0.1", may_be_reused=False)
second, _ = attempt("r.1.1", "mine")
tell(first == second)
""",
    )
    assert not is_reused
    assert texts(tmp_path) == {"r/0.1.log": "", "r/1.1.log": "mine"}


@pytest.mark.parametrize(
    "meddling",
    [
        "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)",
        "os.dup2(os.open(os.devnull, os.O_WRONLY), 2)",
        "for number in range(3): os.close(number)",
        "os.unlink(spare)",
        "os.rename(spare, logs + '/mine')\nopen(spare, 'w').write('false')",
        "os.rename(spare, logs + '/mine')\nos.symlink(logs + '/mine', spare)",
        "os.rename(spare, logs + '/mine')\nos.mkdir(spare)",
        "os.rename(os.path.dirname(spare), logs + '/mine')",
        "os.rename(os.path.dirname(spare), logs + '/mine')\n"
        "os.mkdir(logs + '/elsewhere')\n"
        "os.symlink(logs + '/elsewhere', os.path.dirname(spare))",
    ],
    ids=[
        "output",
        "errors",
        "closed",
        "deleted",
        "replaced",
        "link",
        "folder",
        "moved",
        "folder link",
    ],
)
def test_what_a_task_has_meddled_with_is_not_reused(tmp_path: Path, meddling: str) -> None:
    run(
        tmp_path,
        f"""
log.begin("r.0.1")
{meddling}
log.end(may_be_reused=True)
attempt("q.0.1", "next")
os.write(2, b"!")
tell(0)
""",
    )
    assert texts(tmp_path)["q/0.1.log"] == "next!"
    assert not (tmp_path / "q" / "0.1.log").is_symlink()
    assert not list(tmp_path.glob("elsewhere/*"))
    assert not (tmp_path / "mine").is_file() or not (tmp_path / "mine").read_text()


def test_what_lies_there_already_is_kept(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "1.1.log").write_text("former ")
    run(tmp_path, """tell([attempt("r.0.1"), attempt("r.1.1", "and present")])""")
    assert texts(tmp_path) == {"r/1.1.log": "former and present"}


def test_a_reused_log_is_written_to_as_a_new_one(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
import fcntl
log.begin("r.0.1")
fcntl.fcntl(1, fcntl.F_SETFL, os.O_NONBLOCK)  # no longer at the end, and not waiting
log.end(may_be_reused=True)
log.begin("r.1.1")
tell([os.get_blocking(1), bool(fcntl.fcntl(2, fcntl.F_GETFL) & os.O_APPEND)])
""",
    )
    assert told == [True, True]


def test_a_link_in_the_place_of_the_runs_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "q").symlink_to(tmp_path / "elsewhere")
    told = run(
        tmp_path,
        """
attempt("r.0.1")
try:
    log.begin("q.0.1")
except OSError as error:
    tell(type(error).__name__)
""",
    )
    assert told == "NotPlainError"
    assert not list((tmp_path / "elsewhere").iterdir())


def test_an_attempt_whose_log_cannot_be_opened_leaves_the_next_one_its_own(tmp_path: Path) -> None:
    (tmp_path / "q").write_text("no folder")
    told = run(
        tmp_path,
        """
attempt("r.0.1")
try:
    log.begin("q.0.1")
except OSError:
    log.end(may_be_reused=True)
tell(attempt("r.1.1", "text"))
""",
    )
    assert told[1] == 4
    assert texts(tmp_path) == {"r/1.1.log": "text"}


def test_an_attempt_whose_log_cannot_be_opened_has_none_to_tell_of(tmp_path: Path) -> None:
    (tmp_path / "q").write_text("no folder")
    told = run(
        tmp_path,
        """
attempt("r.0.1", "what the attempt before wrote")
try:
    log.begin("q.0.1")
except OSError:
    tell(log.end(may_be_reused=True))
""",
    )
    assert told == 0
    assert texts(tmp_path) == {"r/0.1.log": "what the attempt before wrote"}


def test_a_size_is_told_where_errors_were_closed(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
log.begin("r.0.1")
os.write(1, b"text")
os.close(2)
tell(log.end(may_be_reused=True))
""",
    )
    assert told == 4


def test_the_log_of_a_task_that_closed_it_is_kept(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
attempt("r.0.1")
log.begin("r.1.1")
os.write(1, b"text")
os.close(1)
log.end(may_be_reused=True)
attempt("r.2.1", "next")
tell(0)
""",
    )
    assert texts(tmp_path) == {"r/1.1.log": "text", "r/2.1.log": "next"}


def test_output_that_is_no_log_of_ours_is_not_reused(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
log.end(may_be_reused=True)
log.begin("r.0.1")
os.write(2, b"text")
tell(log.end(may_be_reused=True))
""",
    )
    assert told == 4
    assert texts(tmp_path) == {"r/0.1.log": "text"}


def test_a_log_that_got_its_name_meanwhile_is_kept_and_not_reused(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
sizes = []
for number, text in enumerate(["", "text"]):
    log.begin(f"r.{number}.1")
    unnamed.give_name(os.getpid(), f"r.{number}.1")
    os.write(1, text.encode())
    sizes.append(log.end(may_be_reused=True))
tell([*sizes, attempt("r.2.1", "next")[1]])
""",
    )
    assert told == [0, 4, 4]
    assert texts(tmp_path) == {"r/0.1.log": "", "r/1.1.log": "text", "r/2.1.log": "next"}


def test_what_lies_in_the_way_of_a_name_costs_the_log_and_is_told_once(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
log.begin("r.0.1")
os.write(1, b"text")
open(logs + "/r", "w").close()
size = log.end(may_be_reused=True)
tell([size, log.take_error(), log.take_error(), attempt("q.0.1", "next")[1]])
""",
    )
    size, error, again, after = told
    assert (size, again, after) == (0, "", 4)
    assert error.startswith("r.0.1: ")
    assert texts(tmp_path) == {"q/0.1.log": "next"}


def test_a_pool_removes_its_own_unnamed_logs_alone(tmp_path: Path) -> None:
    ours, others = UnnamedLogs(str(tmp_path), "/a.sock"), UnnamedLogs(str(tmp_path), "/b.sock")
    paths = [Path(logs.path(pid)) for logs in (ours, others) for pid in (1, 2)]
    paths[0].parent.mkdir()
    for path in paths:
        path.touch()
    ours.remove(1)
    assert [path.exists() for path in paths] == [False, True, True, True]
    ours.clear()
    assert [path.exists() for path in paths] == [False, False, True, True]
    ours.give_name(1, "r.0.1")
    assert not (tmp_path / "r").exists(), "there was none"
