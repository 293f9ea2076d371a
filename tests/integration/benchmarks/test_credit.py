"""The benchmark of real work runs: engine and straight script find the same figures on the demo."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.credit import count_at_once

ROOT = Path(__file__).resolve().parents[3]


def test_engine_and_script_do_the_same_work(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "credit.py"), f"--json={output}"]
    ran = subprocess.run(
        [*command, "--rounds=1", "--cold-rounds=0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=58,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
    )
    assert ran.returncode == 0, ran.stderr  # unequal figures are an error
    results = json.loads(output.read_text(encoding="utf-8"))
    assert len(results["warm"]["operators"]) == 10
    assert results["ratios"]["warm"] > 0
    assert "evaluate_gbdt" in ran.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_overlapping_operators_are_counted() -> None:
    assert count_at_once([(0.0, 1.0), (1.0, 2.0)]) == 1
    assert count_at_once([(0.0, 2.0), (1.0, 3.0), (1.5, 1.8)]) == 3
