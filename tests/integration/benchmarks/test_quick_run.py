"""The benchmark runs from start to end, and all of its runs succeed; how fast is not asked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
WHO = ("engine", "script")


def run_quickly(tmp_path: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Return what was measured, and what was printed."""
    output = tmp_path / "results.json"
    ran = subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks" / "run.py"),
            "--quick",
            *options,
            f"--scratch={tmp_path}",
            f"--output={output}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
    )
    assert ran.returncode == 0, ran.stderr
    assert [path for path in tmp_path.iterdir() if path != output] == []
    return json.loads(output.read_text(encoding="utf-8")), ran.stdout


def test_quick_benchmark_runs_every_case_with_every_contender(tmp_path: Path) -> None:
    results, printed = run_quickly(
        tmp_path, "--parts=graphs", "--databases=sqlite", "--others=pool"
    )
    assert {name: set(figures) for name, figures in results["cases"].items()} == {
        name: {"sqlite", "pool"} for name in ("chain", "wide", "layered", "concurrent")
    }
    assert results["start"]["sqlite"]["first_s"] > 0
    assert results["idle"]["sqlite"]["percent"] >= 0
    assert results["memory"]["sqlite"]["after_mb"] > 50
    assert results["machine"]["python"]
    assert results["caveats"]
    assert "chain of 5" in printed
    assert results["work"] == results["in_flight"] == {}


def test_real_work_is_measured_against_a_straight_script(tmp_path: Path) -> None:
    results, printed = run_quickly(tmp_path, "--parts=work")
    assert {name: len(part["operators"]) for name, part in results["work"].items()} == {
        "credit": 6,
        "demo": 10,
    }
    assert all(part[who]["median_s"] > 0 for part in results["work"].values() for who in WHO)
    assert "the front end's credit file, 1,000 rows" in printed
    assert results["cases"] == {}


def test_tasks_in_flight_are_measured(tmp_path: Path) -> None:
    results, printed = run_quickly(tmp_path, "--parts=in_flight")
    assert list(results["in_flight"]) == ["100", "200"]
    assert all(load["ms_a_task"] > 0 for load in results["in_flight"].values())
    assert "Tasks in flight" in printed
