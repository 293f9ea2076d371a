"""The profile of a hop sees every step of a task's way, in the order in which they follow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.hop import WAY, find_hops

ROOT = Path(__file__).resolve().parents[3]


def _write_hop(began_ns: int, step_ns: int = 1000) -> list[str]:
    return [f"{began_ns + place * step_ns} {step}" for place, (step, _) in enumerate(WAY)]


def test_steps_are_cut_into_hops() -> None:
    first, second = _write_hop(0), _write_hop(100_000, 2000)
    end = "200000 work"
    hops = find_hops([*second, end, *first])  # processes write in no order
    assert [hop[0] for hop in hops] == [1.0, 2.0]
    assert [round(sum(hop)) for hop in hops] == [100, 100]


def test_what_does_not_follow_is_passed_over_and_a_gap_drops_the_hop() -> None:
    whole, gap = _write_hop(0), _write_hop(100_000)
    stray = ["500 reporter_takes", "700 main_takes"]
    del gap[5]
    hops = find_hops([*whole, *stray, *gap, "200000 work"])
    assert len(hops) == 1


def test_a_short_chain_is_seen_whole(tmp_path: Path) -> None:
    output = tmp_path / "hop.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "hop.py"), f"--json={output}"]
    ran = subprocess.run(
        [*command, "--length=4", "--rounds=2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["hops"] >= 3
    assert all(found["steps_us"][step]["mean"] > 0 for step, _ in WAY)
    assert "**one hop**" in ran.stdout
