"""The benchmark of data between operators runs, and what of it no clock decides holds: no copies
of numbers, and no more memory than the table needs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BASE_MB = 12
"""For whatever is loaded on the way, however large the table is."""


@pytest.mark.parametrize("is_mixed", [False, True], ids=["numbers", "mixed"])
def test_a_table_is_passed_on_in_little_more_memory_than_its_own(
    tmp_path: Path, is_mixed: bool
) -> None:
    output = tmp_path / "results.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "data.py"), "--mb=100", "--rounds=1"]
    command += [f"--folder={tmp_path}", f"--json={output}", *(["--mixed"] if is_mixed else [])]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=55)
    assert ran.returncode == 0, ran.stderr

    results = json.loads(output.read_text(encoding="utf-8"))
    steps = results["steps"]
    table_mb = steps["write"]["table_mb"]
    assert table_mb >= 100
    assert steps["write memory"]["peak_mb"] < 0.2 * table_mb + BASE_MB, "over the table itself"
    for reader in ("arrow memory", "frame memory"):
        assert steps[reader]["peak_mb"] < 1.2 * table_mb + BASE_MB, reader
        assert steps[reader]["private_mb"] < 0.1 * table_mb + BASE_MB, reader
    assert steps["arrow memory"]["copied_bytes"] == 0
    gaps_bytes = 8 * int(100e6 / 96) if is_mixed else 0
    assert steps["frame memory"]["copied_bytes"] == gaps_bytes, "of the column with gaps alone"
    assert results["ratios"]["peak memory of pandas.read_feather / table"] > 1.5, "it does copy"
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
