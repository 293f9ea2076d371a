"""The benchmark runs from start to end, and all of its runs succeed; how fast is not asked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_quick_benchmark_runs_every_case_with_every_contender(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    ran = subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks" / "run.py"),
            "--quick",
            "--databases=sqlite",
            "--others=pool",
            f"--scratch={tmp_path}",
            f"--output={output}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
    )
    assert ran.returncode == 0, ran.stderr
    results = json.loads(output.read_text(encoding="utf-8"))
    assert {name: set(figures) for name, figures in results["cases"].items()} == {
        name: {"sqlite", "pool"} for name in ("chain", "wide", "layered", "concurrent")
    }
    assert results["start"]["sqlite"]["first_s"] > 0
    assert results["idle"]["sqlite"]["percent"] >= 0
    assert results["memory"]["sqlite"]["after_mb"] > 50
    assert results["machine"]["python"]
    assert results["caveats"]
    assert "chain of 5" in ran.stdout
    assert [path for path in tmp_path.iterdir() if path != output] == []
