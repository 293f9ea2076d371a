"""Measures backup, restore, pruning and a scrape of /metrics on a database with many tasks:

    python benchmarks/upkeep.py [--tasks 100000] [--database-url mysql+pymysql://…] [--json FILE]

Caveats: the runs are those of seed.py; all on one machine, whose other load shows in the figures;
memory is the peak of this process over the whole step.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.frame import make_parser, write_results
from benchmarks.machine import describe_commit, describe_machine
from benchmarks.seed import seed
from dag_engine.config import Config, DatabaseConfig, RetentionConfig
from dag_engine.scheduler.housekeeping import Housekeeper
from dag_engine.storage import migrate, restore
from dag_engine.storage.backup import back_up
from dag_engine.storage.database import Database

_STEPS = ("backup", "restore", "metrics", "prune")


def main() -> None:
    """Run the steps, each in a process of its own so that its peak of memory is its own."""
    parser = make_parser(__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--step", default="")
    parser.add_argument("--folder", default="")
    given = parser.parse_args()
    if given.step:
        sys.stdout.write(json.dumps(_run_step(given)))
        return
    with tempfile.TemporaryDirectory() as folder:
        url = given.database_url or f"sqlite:///{folder}/dagengine.db"
        common = ["--tasks", str(given.tasks), "--database-url", url, "--folder", folder]
        results: dict[str, Any] = {
            "machine": describe_machine(Path(folder)),
            "commit": describe_commit(),
            "caveats": (__doc__ or "").partition("Caveats: ")[2].split("\n"),
            "tasks": given.tasks,
        }
        for step in ("fill", *_STEPS):
            command = [sys.executable, __file__, "--step", step, *common]
            results[step] = json.loads(
                subprocess.run(command, check=True, capture_output=True).stdout
            )
    print(write_results(results, given.json), end="")


def _run_step(given: argparse.Namespace) -> dict[str, Any]:
    database = Database(given.database_url, DatabaseConfig(url=given.database_url))
    folder = Path(given.folder)
    began = time.perf_counter()
    extra = _DO[given.step](database, folder, given.tasks)
    seconds = time.perf_counter() - began
    database.close()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(seconds, 2), "peak_mb": round(peak_mb, 1), **extra}


def _fill(database: Database, folder: Path, n_tasks: int) -> dict[str, Any]:
    del folder
    migrate.upgrade_database(database)
    return {"runs": seed(database, n_tasks).n_runs}


def _back_up(database: Database, folder: Path, n_tasks: int) -> dict[str, Any]:
    del n_tasks
    made = back_up(database, folder / "copy", program="benchmark")
    return {"rows": sum(made.n_rows.values()), "size_mb": round(made.size_bytes / 1e6, 1)}


def _restore(database: Database, folder: Path, n_tasks: int) -> dict[str, Any]:
    del n_tasks
    return {"rows": sum(restore.restore(database, folder / "copy").backup.n_rows.values())}


def _scrape(database: Database, folder: Path, n_tasks: int) -> dict[str, Any]:
    del n_tasks
    from dag_engine.api.app import create_app
    from dag_engine.api.services import services_of

    config = Config(
        home=folder,
        database=DatabaseConfig(url=database.url),
        store_url=f"file://{folder}/store",
    )
    app = create_app(config)
    client, found = app.test_client(), {}
    for path in ("/metrics", "/healthz"):
        times = []
        for _ in range(200):
            began = time.perf_counter()
            client.get(path)
            times.append(1000 * (time.perf_counter() - began))
        times.sort()
        name = path.strip("/")
        found |= {f"{name}_p50_ms": round(times[100], 1), f"{name}_p99_ms": round(times[197], 1)}
    services_of(app).close()
    return found


def _prune(database: Database, folder: Path, n_tasks: int) -> dict[str, Any]:
    policy = RetentionConfig(runs_days=1, orphans_days=None, keys_days=None)
    began = time.perf_counter()
    tidied = Housekeeper(database, f"file://{folder}/store", policy).tidy()
    tasks_a_s = round(n_tasks / (time.perf_counter() - began))
    return {"runs": tidied.n_runs, "tasks_per_s": tasks_a_s}


_DO = {
    "fill": _fill,
    "backup": _back_up,
    "restore": _restore,
    "metrics": _scrape,
    "prune": _prune,
}


if __name__ == "__main__":
    main()
