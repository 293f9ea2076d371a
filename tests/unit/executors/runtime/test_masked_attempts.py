"""An attempt writes no secret: not to its log, errors, progress, metrics or reports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from executors.base import Outcome, Task
from executors.masking import PROCESS_NAME
from executors.runtime.__main__ import RemoteTask, write_task_file
from tests.support.attempts import Workshop

ALGORITHM = "tests.support.secretive_algorithms"
SECRET = "Kanarienvogel-4711/ä"
PASSWORD = "p%40ss-Kanarie"
URL = f"mysql+pymysql://root:{PASSWORD}@127.0.0.1:1/bank"
PIECES = ("Kanarienvogel-4711", "p%40ss-Kanarie", "p@ss-Kanarie", "S2FuYXJpZW52b2dlb")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "home")


def make_task(workshop: Workshop, deed: str, secret: str = SECRET) -> Task:
    return workshop.make_task(
        ALGORITHM,
        {"deed": deed, "secret": "s", "connection": "c"},
        secrets={"s": secret},
        connections={"c": {"url": URL}},
        n_outputs=2,
    )


def run_apart(workshop: Workshop, task: Task) -> tuple[Outcome, str]:
    """Run a task in a process of its own; gives its outcome and all that it wrote."""
    path = workshop.home / "task.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_task_file(path, RemoteTask(task=task, settings=workshop.settings))
    assert path.stat().st_mode & 0o077 == 0
    command = [sys.executable, "-m", "executors.runtime", str(path)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=50
    )
    assert not path.exists()
    written = path.with_name("task.json.outcome").read_bytes()
    told = path.with_name("task.json.progress")
    log = done.stdout.decode("utf-8") + written.decode("utf-8") + told.read_text("utf-8")
    return msgspec.json.decode(written, type=Outcome), log


def check_clean(text: str) -> None:
    assert not [piece for piece in PIECES if piece in text], text


def run_script(script: str) -> subprocess.CompletedProcess[bytes]:
    head = "import os\nfrom executors.masking import Masker\n"
    head += "from executors.runtime.output_mask import mask_output\n"
    head += f"SECRET = {SECRET!r}\n"
    return subprocess.run(
        [sys.executable, "-c", head + script], capture_output=True, check=True, timeout=50
    )


def test_a_successful_attempt_tells_no_secret(workshop: Workshop) -> None:
    outcome, log = run_apart(workshop, make_task(workshop, "use"))
    assert outcome.state == "succeeded", outcome
    check_clean(log)
    for word in ("printed", "written", "by a C library", "by a child", "logged", "progress"):
        assert f"{word} *** ***" in log
    assert "metric *** ***" in outcome.metrics
    report = outcome.outputs[0].inline
    assert report["text"] == "*** ***"
    assert report["*** ***"] == ["*** ***", {"quoted": "***%20***"}]
    assert report["n"] == len(f"{SECRET} {URL}")


@pytest.mark.parametrize("deed", ["raise", "hint", "connect"])
def test_a_failed_attempt_tells_no_secret(workshop: Workshop, deed: str) -> None:
    outcome, log = run_apart(workshop, make_task(workshop, deed))
    assert outcome.state == "failed"
    check_clean(log)
    if deed == "raise":
        # it is masked before it is cut: the cut falls into what would have been the secret
        assert outcome.message.endswith("raised *** ***")
        assert "***" in outcome.traceback
    elif deed == "hint":
        assert (outcome.message, outcome.hint) == ("sorry *** ***", "hint *** ***")
    else:
        assert "'c' cannot be read" in outcome.message


def test_a_large_report_is_stored_without_the_secret(workshop: Workshop, tmp_path: Path) -> None:
    task = make_task(workshop, "use", "Kanarienvogel-4711 " + "x" * 200)
    task = msgspec.structs.replace(task, params={**task.params, "filler": 10_000})
    outcome, log = run_apart(workshop, task)
    assert outcome.state == "succeeded", outcome
    check_clean(log)
    assert outcome.outputs[0].uri.endswith(".json")
    stored = [path for path in tmp_path.rglob("0.json") if path.is_file()]
    assert len(stored) == 1
    assert '"text":"*** ***"' in stored[0].read_text()
    check_clean(stored[0].read_text())


def test_the_same_files_are_put_back_and_no_process_is_left() -> None:
    done = run_script("""
before = [os.fstat(1).st_ino, os.fstat(2).st_ino]
with mask_output(Masker([SECRET])):
    assert os.fstat(1).st_ino != before[0]
    os.write(1, SECRET.encode()[:5])
    os.write(1, SECRET.encode()[5:] + b"\\nKanar")
assert [os.fstat(1).st_ino, os.fstat(2).st_ino] == before
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("alone")
""")
    assert done.stdout == b"***\nKanaralone\n"


def test_stdout_and_stderr_stay_apart_where_they_are() -> None:
    done = run_script("""
with mask_output(Masker([SECRET])):
    os.write(1, f"out {SECRET}".encode())
    os.write(2, f"err {SECRET}".encode())
""")
    assert (done.stdout, done.stderr) == (b"out ***", b"err ***")


def test_what_waits_in_a_stream_that_was_replaced_is_masked() -> None:
    done = run_script("""
import io, sys
with mask_output(Masker([SECRET])):
    sys.stdout.write(f"before {SECRET}")
    sys.stdout = io.StringIO()
    sys.stderr = object()
sys.stderr = sys.__stderr__
""")
    assert (done.stdout, done.stderr) == (b"before ***", b"")


def test_the_filter_bears_its_name_and_outlives_the_signals_of_a_cancel() -> None:
    done = run_script("""
import signal, time
with mask_output(Masker([SECRET])):
    children = f"/proc/self/task/{os.getpid()}/children"
    pid = int(open(children).read())
    while open(f"/proc/{pid}/comm").read().strip() != "dagengine-mask":
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    os.write(1, f"after {SECRET}".encode())
""")
    assert PROCESS_NAME == "dagengine-mask"
    assert done.stdout == b"after ***"


def test_a_child_that_is_left_behind_does_not_hold_the_attempt_up() -> None:
    done = run_script("""
import subprocess, time
began = time.monotonic()
with mask_output(Masker([SECRET])):
    child = subprocess.Popen(["sleep", "30"])
assert time.monotonic() - began < 10
child.kill()
child.wait()
print("over")
""")
    assert done.stdout == b"over\n"


def test_a_task_without_secrets_is_not_filtered(workshop: Workshop) -> None:
    seen: list[int] = []
    task = workshop.make_task("tests.support.noop_algorithm:noop")
    before = os.fstat(1).st_ino
    from executors.runtime import attempt

    original = attempt._carry_out

    def look(*args: object) -> object:
        seen.append(os.fstat(1).st_ino)
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempt, "_carry_out", look)
        workshop.run_task(task)
    assert seen == [before]


def test_a_task_shows_no_secret() -> None:
    task = make_task(Workshop(Path("/nowhere")), "use")
    check_clean(f"{task} {task!r} {[task]}")
