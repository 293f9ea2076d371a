import subprocess
import sys
from pathlib import Path

import msgspec

from executors.base import Outcome
from executors.runtime.__main__ import RemoteTask, run_task_file
from tests.support.attempts import Workshop
from tests.support.sample_algorithms import MODULE

ROOT = Path(__file__).parents[4]


def write_task(workshop, path, name, params=None):
    remote = RemoteTask(
        task=workshop.make_task(f"{MODULE}:{name}", params), settings=workshop.settings
    )
    path.write_bytes(msgspec.json.encode(remote))


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "executors.runtime", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_a_task_file_gives_an_outcome_file_and_a_log(tmp_path):
    path = tmp_path / "task.json"
    write_task(Workshop(tmp_path), path, "no_outputs")
    finished = run(path)
    assert finished.returncode == 0
    assert "你好" in finished.stdout
    outcome = msgspec.json.decode((tmp_path / "task.json.outcome").read_bytes(), type=Outcome)
    assert outcome.state == "succeeded"


def test_a_failure_is_an_outcome_too(tmp_path):
    path = tmp_path / "task.json"
    write_task(Workshop(tmp_path), path, "fail", {"kind": "error"})
    assert run_task_file(path).reason == "error"
    outcome = msgspec.json.decode((tmp_path / "task.json.outcome").read_bytes(), type=Outcome)
    assert outcome.reason == "error"


def test_a_cancel_file_stops_it(tmp_path):
    path = tmp_path / "task.json"
    write_task(Workshop(tmp_path), path, "loop")
    (tmp_path / "task.json.cancel").touch()
    assert run_task_file(path).state == "cancelled"


def test_a_file_that_is_no_task_is_told(tmp_path):
    path = tmp_path / "task.json"
    path.write_text("{}")
    finished = run(path)
    assert finished.returncode == 2
    assert "cannot be carried out" in finished.stderr
    assert run().returncode == 2
