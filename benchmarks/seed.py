"""Fills a database with runs as the scheduler leaves them, for measuring with a million tasks:

    python benchmarks/seed.py --database-url sqlite:////tmp/many.db [--tasks 1000000]

The tables are made where they are missing. Of 200 runs 187 succeeded, eight failed, four were
cancelled and one is paused; of a thousand 250 have one operator, 350 have five, 350 have ten, 40
have forty, nine have 200 and one has 1,000. From 100,000 tasks on one run has 10,000. Their DAGs
are stored too, one for about a hundred runs, and as many datasets.

Caveats: the runs are copies of some patterns, each really carried out once; files of artifacts are
not made.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.graphs import Graph, make_chain, make_dag_file, make_layers
from benchmarks.patterns import Ending, Pattern, TableRows, make_pattern, make_plan
from dag_engine.config import DatabaseConfig
from dag_engine.storage import bulk, chunks, dags, datasets, migrate, tables
from dag_engine.storage.database import Database
from dag_engine.storage.ids import new_run_id
from dag_engine.storage.moments import to_text
from dag_engine.storage.rows import NewDag, NewDatasetVersion, NewEdge, NewOperator

BIGGEST = 10_000
_NAMESPACE = "default"
_SIZES = {1: 250, 5: 350, 10: 350, 40: 40, 200: 9, 1000: 1}
_ENDINGS: dict[Ending, int] = {"succeeded": 187, "failed": 8, "cancelled": 4, "paused": 1}
_RUNS_A_DAG = 100
_SPAN = dt.timedelta(days=60)
_ROWS_AT_ONCE = 40_000
_ROWS_A_TASK = 6
_WORK_S = 300.0


@dataclass(slots=True)
class Seeded:
    """What was stored: numbers, and the biggest runs for whoever measures."""

    n_runs: int = 0
    n_tasks: int = 0
    n_open: int = 0
    n_dags: int = 0
    biggest_run: str = ""


@dataclass(frozen=True, slots=True)
class _Definition:
    """A stored DAG with the plan that all of its runs have."""

    dag_id: str
    size: int
    name: str
    fingerprints: list[str]
    pieces: list[bytes]


def main() -> None:
    """Seed the database that was named, and tell what is in it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    given = parser.parse_args()
    database = Database(given.database_url, DatabaseConfig(url=given.database_url))
    migrate.upgrade_database(database)
    began = time.perf_counter()
    seeded = seed(database, given.tasks)
    found = {"seconds": round(time.perf_counter() - began, 1), **msgspec.to_builtins(seeded)}
    database.close()
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


def seed(database: Database, n_tasks: int, *, end: dt.datetime | None = None) -> Seeded:
    """Store runs with about so many tasks, the last of them accepted at `end` (default: now)."""
    sizes = list(_choose_sizes(n_tasks))
    end = end or dt.datetime.now(dt.UTC)
    definitions = _store_definitions(database, sizes)
    _store_datasets(database, max(1, len(sizes) // _RUNS_A_DAG))
    seeded = Seeded(n_dags=sum(len(of_size) for of_size in definitions.values()))
    chance = random.Random(len(sizes))
    endings = [ending for ending, share in _ENDINGS.items() for _ in range(share)]
    chance.shuffle(endings)
    with tempfile.TemporaryDirectory() as folder:
        patterns = _Patterns(Path(folder))
        todo: list[_Copy] = []
        n_rows = 0
        for number, size in enumerate(sizes):
            at = end - _SPAN * (1 - (number + 1) / len(sizes))
            definition = _choose_definition(definitions[size], chance)
            ending = "succeeded" if size == BIGGEST else endings[number % len(endings)]
            pattern = patterns.get(size, ending)
            copy = _Copy(new_run_id(at, number), at, definition, pattern)
            todo.append(copy)
            _count(seeded, copy)
            n_rows += size * _ROWS_A_TASK
            if n_rows > _ROWS_AT_ONCE or number == len(sizes) - 1:
                database.run_txn(partial(_insert, copies=todo), work_s=_WORK_S)
                todo, n_rows = [], 0
        patterns.close()
    return seeded


def _choose_sizes(n_tasks: int) -> Iterator[int]:
    """Mix the sizes evenly over the time, up to so many tasks."""
    cycle = [size for size, share in _SIZES.items() for _ in range(share)]
    random.Random(1).shuffle(cycle)
    biggest = [BIGGEST] if n_tasks >= 10 * BIGGEST else []
    left = n_tasks - sum(biggest)
    chosen = []
    for size in itertools.cycle(cycle):
        if left < size:
            break
        chosen.append(size)
        left -= size
    chosen += [1] * left
    yield from chosen[: len(chosen) // 2]
    yield from biggest
    yield from chosen[len(chosen) // 2 :]


def _choose_definition(of_size: list[_Definition], chance: random.Random) -> _Definition:
    """Let every third run be one of the first DAG, the others of any."""
    return of_size[0] if chance.random() < 1 / 3 else chance.choice(of_size)


def _count(seeded: Seeded, copy: _Copy) -> None:
    size = copy.definition.size
    seeded.n_runs += 1
    seeded.n_tasks += size
    seeded.n_open += copy.pattern.ending == "paused"
    if size == BIGGEST or not seeded.biggest_run:
        seeded.biggest_run = copy.run_id


# --- definitions ----------------------------------------------------------------------------------


def make_graph(size: int) -> Graph:
    """Make a chain of up to ten no-ops, else ten layers of them."""
    return make_chain(size, "bench_noop") if size <= 10 else make_layers(10, size // 10)


def _store_definitions(database: Database, sizes: list[int]) -> dict[int, list[_Definition]]:
    found: dict[int, list[_Definition]] = {}
    for size in sorted(set(sizes)):
        n_dags = max(1, sizes.count(size) // _RUNS_A_DAG)
        found[size] = [_store_definition(database, size, number) for number in range(n_dags)]
    return found


def _store_definition(database: Database, size: int, number: int) -> _Definition:
    graph, name = make_graph(size), f"seed {size} {number}"
    source = msgspec.json.encode(make_dag_file(graph, name))
    nodes = {node.name: node for node in graph.nodes}
    new = NewDag(
        name=name,
        digest=hashlib.sha256(source).hexdigest(),
        source=source,
        media_type="application/json",
        operators=[NewOperator(n.name, n.algorithm, "本地python", "", n.name) for n in graph.nodes],
        edges=[NewEdge(parent, 0, n, 0) for n, node in nodes.items() for parent in node.parents],
    )
    marks = [hashlib.sha256(f"{name} {place}".encode()).hexdigest() for place in range(size)]
    pieces = chunks.cut(msgspec.json.encode(make_plan(graph, marks)))
    return _Definition(dags.store_dag(database, new).dag.id, size, name, marks, pieces)


def _store_datasets(database: Database, n_datasets: int) -> None:
    for number in range(n_datasets):
        name = f"seed_{number:06d}"
        _, version = datasets.reserve_version(database, _NAMESPACE, name, name=name)
        datasets.add_version(
            database,
            NewDatasetVersion(
                namespace=_NAMESPACE,
                dataset_id=name,
                version=version,
                uri=f"file:///nowhere/{name}.csv",
                format="csv",
            ),
        )


# --- copies of patterns ---------------------------------------------------------------------------


class _Patterns:
    """The patterns that are wanted, each made once in a database of their own."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder / 'patterns.db'}"
        self._database = Database(url, DatabaseConfig(url=url))
        migrate.upgrade_database(self._database)
        self._made: dict[tuple[int, Ending], Pattern] = {}

    def get(self, size: int, ending: Ending) -> Pattern:
        key = size, ending
        if key not in self._made:
            plan = make_plan(make_graph(size), [""] * size)
            self._made[key] = make_pattern(self._database, plan, ending)
        return self._made[key]

    def close(self) -> None:
        self._database.close()


@dataclass(frozen=True, slots=True)
class _Copy:
    """One run to be stored."""

    run_id: str
    at: dt.datetime
    definition: _Definition
    pattern: Pattern


def _insert(connection: Connection, copies: list[_Copy]) -> None:
    plans = [
        (copy.run_id, part, _NAMESPACE, data)
        for copy in copies
        for part, data in enumerate(copy.definition.pieces)
    ]
    bulk.insert_rows(connection, tables.run_plans, ["run_id", "part", "namespace", "data"], plans)
    by_columns: dict[tuple[str, tuple[str, ...]], list[tuple[Any, ...]]] = {}
    for copy in copies:
        moments = [to_text(copy.at + offset) for offset in copy.pattern.offsets]
        for rows in copy.pattern.tables:
            columns = _columns_of(copy, rows, moments)
            key = rows.table.name, tuple(columns)
            by_columns.setdefault(key, []).extend(zip(*columns.values(), strict=True))
    for (table, names), values in by_columns.items():
        bulk.insert_rows(connection, tables.metadata.tables[table], list(names), values)


def _columns_of(copy: _Copy, rows: TableRows, moments: list[str | None]) -> dict[str, list[Any]]:
    """Give the columns of a table for one run: those of the pattern, with its own names and
    times.
    """
    own: dict[str, list[Any]] = {
        "run_id": [copy.run_id] * rows.n_rows,
        "namespace": [_NAMESPACE] * rows.n_rows,
    }
    if rows.table is tables.tasks:
        own["fingerprint"] = copy.definition.fingerprints
    elif rows.table is tables.runs:
        own |= {"dag_id": [copy.definition.dag_id], "name": [copy.definition.name]}
    timed = {
        name: [None if number is None else moments[number] for number in numbers]
        for name, numbers in rows.moments.items()
    }
    found = {**rows.columns, **timed, **own}
    # the statement names them in the order of the table
    return {column.name: found[column.name] for column in rows.table.c if column.name in found}


if __name__ == "__main__":
    main()
