"""What `dagengine serve` cannot start with, it says at once, and ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.services import START_S

ALGORITHM = """
from pydantic import BaseModel
from algorithms.base import Context, Port, algorithm

class Params(BaseModel):
    pass

@algorithm("echo", title="Echo", outputs=[Port("report", "report")])
def echo(context: Context, params: Params) -> dict:
    return {}
"""


def test_two_algorithms_with_one_name_are_refused_naming_both_files(tmp_path: Path) -> None:
    files = [tmp_path / folder / "回声.py" for folder in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.write_text(ALGORITHM, encoding="utf-8")
    command = [sys.executable, "-m", "dag_engine.cli", "serve", "--home", str(tmp_path / "home")]
    folders = [part for file in files for part in ("--algorithms", str(file.parent))]
    ended = subprocess.run(
        [*command, "--port", "0", *folders],
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert ended.returncode == 1
    [refusal] = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    assert all(str(file) in refusal for file in files)
    assert "ready" not in ended.stdout
