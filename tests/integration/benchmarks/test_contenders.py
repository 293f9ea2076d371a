"""What the engine is compared with does the whole work, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.contenders import ChildContender
from benchmarks.graphs import make_cases

ROOT = Path(__file__).resolve().parents[3]
CASES = make_cases(is_quick=True)


@contextmanager
def start_contender(kind: str) -> Iterator[ChildContender]:
    contender = ChildContender(kind, 2, is_quick=True)
    try:
        yield contender
    finally:
        contender.close()


def test_pool_runs_every_case_with_the_right_results() -> None:
    with start_contender("pool") as pool:
        assert all(pool.run(case) > 0 for case in CASES.values())


def test_dask_carries_out_every_task_of_every_case() -> None:
    """Dask may merge tasks when it optimizes graphs, and the comparison would say nothing."""
    script = (
        "import json\n"
        "from benchmarks.dask_cluster import DaskContender\n"
        "from benchmarks.child import check_results\n"
        "from benchmarks.graphs import make_cases\n"
        "if __name__ == '__main__':\n"
        "    dask = DaskContender(2)\n"
        "    counts = {}\n"
        "    for case in make_cases(is_quick=True).values():\n"
        "        before = dask.count_calls()\n"
        "        check_results(case, dask.run(case)[1])\n"
        "        counts[case.name] = dask.count_calls() - before\n"
        "    dask.close()\n"
        "    print(json.dumps(counts))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr
    counts = json.loads(ran.stdout.splitlines()[-1])
    assert counts == {name: case.n_tasks for name, case in CASES.items()}


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here")
def test_contender_whose_library_is_missing_says_so_and_ends() -> None:
    with start_contender("ray") as ray:
        assert "ray" in ray.missing
