"""Branches of a DAG are carried out side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support import meeting_algorithm
from tests.support.services import put_algorithms, run_serve


def test_two_branches_run_at_once(tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    algorithms = put_algorithms(tmp_path / "algorithms", meeting_algorithm)
    with run_serve(tmp_path / "home", "--algorithms", str(algorithms)) as service:
        run = service.post("/api/v1/runs", json=_make_dag(meeting))
        ended = service.get(f"/api/v1/runs/{run['id']}?wait_s=50", timeout=60)
        assert ended["state"] == "succeeded", service.get(f"/api/v1/runs/{run['id']}/tasks")


def _make_dag(meeting: Path) -> dict[str, Any]:
    """Return a file with a root and two branches that wait for each other."""
    others = {"root": "root", "left": "right", "right": "left"}
    return {
        "dag": {
            "operator_list": list(others),
            "operator_rels": {
                "root": [
                    {"target": name, "source_index": 0, "target_index": 0}
                    for name in ("left", "right")
                ]
            },
            "operator_details": {
                name: {
                    "algo_name": "meet",
                    "params": {"folder": str(meeting), "name": name, "other": other},
                }
                for name, other in others.items()
            },
        }
    }
