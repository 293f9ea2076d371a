"""Measures how quickly the service answers with a million tasks stored, while runs go on:

    python benchmarks/load.py [--database-url mysql+pymysql://…] [--tasks 1000000] [--json FILE]

The database is seeded first (see seed.py) unless it holds runs already; without a URL it is a
SQLite file that is removed afterwards. A second process posts small runs meanwhile; questions are
asked in turn over one connection.

Caveats: client, service and database share one machine, whose other load shows in the figures; the
stored runs are copies of some patterns; files are cached by the system as far as its memory goes.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.client import ApiClient
from benchmarks.graphs import make_chain, make_dag_file
from benchmarks.machine import describe_commit, describe_machine
from benchmarks.seed import seed
from benchmarks.service import Service
from dag_engine.config import DatabaseConfig
from dag_engine.storage import migrate, tables
from dag_engine.storage.database import Database

BOUND_MS = 50.0
CHAIN = 5
"""Operators of each run that goes on meanwhile."""
_API = "/api/v1"
_RUN_TIMEOUT_S = 120.0
_END_S = 30.0


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Runs and DAGs of the seed that questions are about."""

    biggest_run: str
    middle_run: str
    small_run: str
    busy_dag: str
    quiet_dag: str
    middle_dag: str
    middle_dataset: str
    n_events: int
    n_tasks: int
    stored: dict[str, int]


def main() -> int:
    """Seed, start, measure, print, write; tell by the exit code whether all was within bounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database-url", default="")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=200, help="how often each is asked")
    parser.add_argument("--runs-per-s", type=float, default=5.0, help="posted meanwhile")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dagengine_load_") as folder:
        results = measure(given, Path(folder))
    print_table(results["answers"])
    text = json.dumps(results, ensure_ascii=False, indent=1) + "\n"
    if given.json:
        given.json.write_text(text, encoding="utf-8")
    return 0 if all(found["p99_ms"] < BOUND_MS for found in results["answers"].values()) else 1


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure one database; return everything that is known of it."""
    url = given.database_url or f"sqlite:///{folder / 'many.db'}"
    began = time.perf_counter()
    landmarks = prepare(url, given.tasks)
    results: dict[str, Any] = {
        "measured_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(folder),
        "commit": describe_commit(),
        "database": url.partition("://")[0],
        "stored": landmarks.stored,
        "preparation_s": round(time.perf_counter() - began, 1),
        "bound_ms": BOUND_MS,
    }
    service = Service(folder / "home", url)
    results["start_s"] = round(service.start(), 2)
    client = ApiClient(service.url)
    try:
        with run_meanwhile(service.url, given.runs_per_s) as n_done:
            if given.runs_per_s:
                _wait_for_first(n_done)
            results["answers"] = ask_in_turn(client, make_questions(landmarks), given.rounds)
        results["runs_meanwhile"] = n_done.value
    finally:
        client.close()
        service.stop()
    results["machine"]["load_after"] = [round(value, 2) for value in os.getloadavg()]
    return results


def prepare(url: str, n_tasks: int) -> Landmarks:
    """Seed the database where it is empty, and find what questions are asked about."""
    database = Database(url, DatabaseConfig(url=url))
    migrate.upgrade_database(database)
    if database.read(lambda c: c.scalar(sa.select(tables.runs.c.run_id).limit(1))) is None:
        seed(database, n_tasks)
    landmarks = database.read(_find_landmarks, work_s=60.0)
    database.close()
    return landmarks


def _find_landmarks(connection: sa.Connection) -> Landmarks:
    runs = tables.runs.c
    rows = connection.execute(
        sa.select(runs.run_id, runs.dag_id, runs.n_tasks, runs.last_seq).order_by(runs.run_id)
    ).all()
    by_use = [dag_id for dag_id, _ in Counter(row.dag_id for row in rows).most_common()]
    datasets = list(connection.scalars(sa.select(tables.datasets.c.dataset_id)))
    biggest = max(rows, key=lambda row: row.n_tasks)
    stored = {
        name: connection.execute(
            sa.select(sa.func.count()).select_from(tables.metadata.tables[name])
        ).scalar_one()
        for name in ("runs", "tasks", "events", "dags", "datasets")
    }
    return Landmarks(
        biggest_run=biggest.run_id,
        middle_run=rows[len(rows) // 2].run_id,
        small_run=next(row.run_id for row in rows if row.n_tasks == CHAIN),
        busy_dag=by_use[0],
        quiet_dag=by_use[-1],
        middle_dag=sorted(by_use)[len(by_use) // 2],
        middle_dataset=sorted(datasets)[len(datasets) // 2],
        n_events=biggest.last_seq,
        n_tasks=biggest.n_tasks,
        stored=stored,
    )


# --- what is asked --------------------------------------------------------------------------------


def make_questions(at: Landmarks) -> dict[str, str]:
    """Name what is asked, with its path."""
    runs = f"{_API}/runs"
    big, small = f"{runs}/{at.biggest_run}", f"{runs}/{at.small_run}"
    return {
        "runs": runs,
        "runs, 1,000 of them": f"{runs}?limit=1000",
        "runs, from the middle": f"{runs}?cursor={at.middle_run}",
        "runs that failed": f"{runs}?state=failed",
        "runs that are open": f"{runs}?state=pending&state=running&state=paused",
        "runs that failed, from the middle": f"{runs}?state=failed&cursor={at.middle_run}",
        "runs of a busy DAG": f"{runs}?dag_id={at.busy_dag}",
        "runs of a quiet DAG": f"{runs}?dag_id={at.quiet_dag}",
        "runs of a busy DAG that run": f"{runs}?dag_id={at.busy_dag}&state=running",
        "runs of a quiet DAG that succeeded": f"{runs}?dag_id={at.quiet_dag}&state=succeeded",
        "runs of a DAG, from the middle": f"{runs}?dag_id={at.busy_dag}&cursor={at.middle_run}",
        "a run": small,
        "a run's tasks": f"{small}/tasks",
        "a run's events": f"{small}/events",
        "a task": f"{small}/tasks/link_0",
        "a big run": big,
        "a big run's tasks": f"{big}/tasks",
        "a big run's tasks, from the middle": f"{big}/tasks?cursor={at.n_tasks // 2}",
        "a big run's tasks that failed": f"{big}/tasks?state=failed",
        "a big run's events": f"{big}/events",
        "a big run's events, from the middle": f"{big}/events?after={at.n_events // 2}",
        "DAGs": f"{_API}/dags",
        "DAGs, from the middle": f"{_API}/dags?cursor={at.middle_dag}",
        "a DAG's versions": f"{_API}/dags/{at.busy_dag}/versions",
        "datasets": f"{_API}/datasets",
        "datasets, from the middle": f"{_API}/datasets?cursor={at.middle_dataset}",
        "/metrics": "/metrics",
        "/healthz": "/healthz",
        "status page": f"/runs/{at.small_run}",
    }


def ask_in_turn(
    client: ApiClient, questions: dict[str, str], n_rounds: int
) -> dict[str, dict[str, float]]:
    """Ask everything in turn so often; the first answers, which fill caches, are told apart."""
    first = {name: 1000 * client.time_call("GET", path)[0] for name, path in questions.items()}
    times: dict[str, list[float]] = {name: [] for name in questions}
    for _ in range(n_rounds):
        for name, path in questions.items():
            times[name].append(1000 * client.time_call("GET", path)[0])
    return {
        name: describe_times(times[name]) | {"first_ms": round(first[name], 1)} for name in times
    }


def describe_times(times_ms: list[float]) -> dict[str, float]:
    """Tell median, 99th percentile (by the nearest rank) and the longest time."""
    ordered = sorted(times_ms)

    def rank(share: float) -> float:
        return round(ordered[max(0, -int(-share * len(ordered) // 1) - 1)], 1)

    return {"p50_ms": rank(0.5), "p99_ms": rank(0.99), "max_ms": round(ordered[-1], 1)}


def print_table(answers: dict[str, dict[str, float]]) -> None:
    """Print a line for each question, with the bound."""
    width = max(map(len, answers))
    print(f"{'':{width}}     p50     p99     max   first   (ms; bound of p99: {BOUND_MS:g})")
    for name, found in answers.items():
        figures = "".join(
            f"{found[key]:8.1f}" for key in ("p50_ms", "p99_ms", "max_ms", "first_ms")
        )
        print(f"{name:{width}}{figures}{'' if found['p99_ms'] < BOUND_MS else '   too slow'}")


# --- what goes on meanwhile -----------------------------------------------------------------------


@contextmanager
def run_meanwhile(url: str, runs_per_s: float) -> Iterator[Any]:
    """Let another process post small runs and wait for each; yields the number that succeeded."""
    context = multiprocessing.get_context("spawn")
    n_done, end = context.Value("i", 0), context.Event()
    process = context.Process(target=_post_runs, args=(url, runs_per_s, n_done, end))
    process.start()
    try:
        yield n_done
        if not process.is_alive():
            raise RuntimeError("the process that posts runs has died")
    finally:
        end.set()
        process.join(_END_S)
        if process.is_alive():
            process.kill()


def _wait_for_first(n_done: Any) -> None:
    until = time.monotonic() + _END_S
    while not n_done.value:
        if time.monotonic() > until:
            raise RuntimeError(f"no run came to its end within {_END_S:g} s")
        time.sleep(0.05)


def _post_runs(url: str, runs_per_s: float, n_done: Any, end: Any) -> None:
    client = ApiClient(url)
    graph = make_chain(CHAIN, "bench_noop")
    next_at = time.monotonic()
    while runs_per_s > 0 and not end.wait(max(0.0, next_at - time.monotonic())):
        next_at = max(next_at + 1 / runs_per_s, time.monotonic())
        name = f"load {os.getpid()} {time.monotonic_ns()}"
        _, [run] = client.run_files(
            [json.dumps(make_dag_file(graph, name)).encode()], "application/json", _RUN_TIMEOUT_S
        )
        n_done.value += run["state"] == "succeeded"
    client.close()


if __name__ == "__main__":
    sys.exit(main())
