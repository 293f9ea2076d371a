"""What is seeded for measuring is what the scheduler would have left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks.seed import seed
from dag_engine.storage import dags, datasets, runs, tables, tasks
from dag_engine.storage.database import Database
from tests.support import databases
from tests.support.stored_replay import replay_database

N_TASKS = 2_200


@pytest.fixture(params=databases.DIALECTS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        opened = databases.open_migrated(databases.sqlite_url(tmp_path))
        yield opened
        opened.close()
        return
    with databases.fresh_mysql_url() as url:
        opened = databases.open_migrated(url)
        yield opened
        opened.close()


def test_seeded_runs_are_as_the_scheduler_leaves_them(database: Database) -> None:
    seeded = seed(database, N_TASKS)
    replayed = replay_database(database)
    assert replayed.problems == []
    assert (replayed.n_runs, replayed.n_open) == (seeded.n_runs, seeded.n_open)
    assert runs.count_runs(database) == Counter(
        database.read(lambda c: list(c.scalars(sa.select(tables.runs.c.state))))
    )
    assert set(runs.count_runs(database)) == {"succeeded", "failed", "cancelled", "paused"}
    n_stored = database.read(
        lambda c: c.scalar(sa.select(sa.func.count()).select_from(tables.tasks))
    )
    assert n_stored == seeded.n_tasks == N_TASKS


def test_seeded_rows_can_be_shown(database: Database) -> None:
    seeded = seed(database, 20)
    page = runs.list_runs(database, "default", limit=1000)
    assert len(page.items) == seeded.n_runs
    dag_ids = {dag.id for dag in dags.list_dags(database, "default").items}
    assert {run.dag_id for run in page.items} <= dag_ids
    assert len(dag_ids) == seeded.n_dags
    assert datasets.list_datasets(database, "default").items
    for run in page.items:
        shown = tasks.list_tasks(database, "default", run.id).items
        plan = runs.load_plan(database, "default", run.id)
        assert [task.fingerprint for task in shown] == [task.fingerprint for task in plan.tasks]
        assert [len(task.outputs) for task in shown] == [
            int(task.state == "succeeded") for task in shown
        ]
