"""What `run.py` measures besides graphs of no-ops: real work, and many tasks in flight."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import credit, in_flight
from benchmarks.credit_data import N_ROWS, write_credit_data
from benchmarks.frame import running_service
from benchmarks.measuring import summarize

LOADS = (1_000, 100_000)


def measure_work(scratch: Path, n_rounds: int, *, is_quick: bool) -> dict[str, Any]:
    """Measure real work, warm, against the script that does the same: the front end's credit file
    and the project's demo.
    """
    n_rows, data = N_ROWS // 30 if is_quick else N_ROWS, scratch / "drawn.csv"
    write_credit_data(data, n_rows)
    title = f"the front end's credit file, {n_rows:,} rows"
    return {
        "credit": {"title": title}
        | _measure_work(scratch, credit.CREDIT, {credit.CREDIT_DATASET: data}, n_rounds),
        "demo": {"title": "the project's demo, 1,000 rows"}
        | _measure_work(scratch, credit.DEMO, credit.DEMO_DATA, n_rounds),
    }


def _measure_work(
    scratch: Path, dag_file: Path, data: dict[str, Path], n_rounds: int
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        warm = credit.measure(Path(folder), dag_file, data, n_rounds, 0)["warm"]
    return {
        "engine": summarize(warm["engine_s"]),
        "script": summarize(warm["script_s"]),
        "n_at_once": warm["n_at_once"],
        "operators": warm["operators"],
    }


def measure_in_flight(scratch: Path, *, is_quick: bool) -> dict[str, Any]:
    """Measure what a task costs with few and with many in flight; by the number of tasks."""
    loads = [100, 200] if is_quick else list(LOADS)
    where: dict[str, Any] = {}
    with running_service("", where, scratch) as (service, client):
        measured = in_flight.measure_loads(service, client, loads)
    return {str(load["tasks"]): load for load in measured}
