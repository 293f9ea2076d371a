"""The measurements of a full database run from start to end; how fast is not asked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def measure(tmp_path: Path, script: str, *options: str) -> dict[str, Any]:
    output = tmp_path / "results.json"
    ran = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *options, f"--json={output}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
    )
    assert output.exists(), ran.stderr
    results: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    assert results["machine"]["python"]
    return results


def test_every_question_is_asked_of_a_seeded_database_while_runs_go_on(tmp_path: Path) -> None:
    results = measure(tmp_path, "load.py", "--tasks=300", "--rounds=8", "--runs-per-s=50")
    assert results["stored"]["tasks"] == 300
    assert results["runs_meanwhile"] > 0
    assert {"runs", "a run's tasks", "/metrics", "status page"} <= set(results["answers"])
    assert all(found["max_ms"] > 0 for found in results["answers"].values())


def test_a_large_graph_is_measured_from_its_check_to_the_end_of_its_run(tmp_path: Path) -> None:
    results = measure(tmp_path, "big_graph.py", "--layers=10", "--width=3")
    assert [graph["operators"] for graph in results["graphs"]] == [3, 30]
    assert all(graph["run_s"] > 0 for graph in results["graphs"])


def test_tasks_in_flight_are_measured(tmp_path: Path) -> None:
    results = measure(tmp_path, "in_flight.py", "--tasks=100,200")
    assert [load["tasks"] for load in results["loads"]] == [100, 200]
    assert all(load["cpu_ms_a_task"] > 0 for load in results["loads"])
