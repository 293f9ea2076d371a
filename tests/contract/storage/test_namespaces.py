"""What stands in one namespace cannot be had, or changed, through another; on both databases."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import sqlalchemy as sa

from dag_engine.storage import (
    commands,
    dags,
    datasets,
    events,
    idempotency,
    runs,
    tables,
    tasks,
)
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NotFoundError
from dag_engine.storage.rows import (
    IdempotencyKey,
    Inspection,
    NewDatasetVersion,
    Page,
)
from dag_engine.storage.scheduler_store import SchedulerStore
from tests.support.stored_samples import (
    accept_sample_run,
    make_full_batch,
    make_new_dag,
    make_plan,
)

MODULES = (commands, dags, datasets, events, idempotency, runs, tasks)
OVER_ALL = {"count_open", "count_runs", "prune_keys"}
"""Figures of the whole service, and its own tidying up."""
KEY = IdempotencyKey("key", "start", "digest")
FINGERPRINTS = [task.fingerprint for task in make_plan(1).tasks]


@dataclass(frozen=True, slots=True)
class Things:
    """What was stored in a namespace."""

    run_id: str
    dag_id: str
    dataset_id: str
    command_id: int


def _version(namespace: str, things: Things, number: int) -> NewDatasetVersion:
    return NewDatasetVersion(
        namespace=namespace,
        dataset_id=things.dataset_id,
        version=number,
        name="changed",
        uri="file:///x",
        format="csv",
        filename="x.csv",
        sha256="",
        size_bytes=1,
        is_in_place=False,
    )


def _new_dag(namespace: str) -> Any:
    return make_new_dag("dag: 二", namespace=namespace, name="credit default")


_Call = Callable[[Database, str, Things], Any]
READS: dict[str, _Call] = {
    "get_command": lambda d, n, t: commands.get_command(d, n, t.command_id),
    "list_commands": lambda d, n, t: commands.list_commands(d, n, t.run_id),
    "get_dag": lambda d, n, t: dags.get_dag(d, n, t.dag_id),
    "list_dags": lambda d, n, t: dags.list_dags(d, n),
    "list_dag_versions": lambda d, n, t: dags.list_dag_versions(d, n, t.dag_id),
    "get_dag_version": lambda d, n, t: dags.get_dag_version(d, n, t.dag_id, 1),
    "get_dag_source": lambda d, n, t: dags.get_dag_source(d, n, t.dag_id, 1),
    "get_dataset": lambda d, n, t: datasets.get_dataset(d, n, t.dataset_id),
    "list_datasets": lambda d, n, t: datasets.list_datasets(d, n),
    "get_version": lambda d, n, t: datasets.get_version(d, n, t.dataset_id, 1),
    "list_versions": lambda d, n, t: datasets.list_versions(d, n, t.dataset_id),
    "load_preview": lambda d, n, t: datasets.load_preview(d, n, t.dataset_id, 1),
    "find_datasets": lambda d, n, t: datasets.find_datasets(d, n, [t.dataset_id]),
    "list_events_after": lambda d, n, t: events.list_events_after(d, n, t.run_id, 0),
    "find_subject": lambda d, n, t: idempotency.find_subject(d, n, KEY),
    "get_run": lambda d, n, t: runs.get_run(d, n, t.run_id),
    "count_open_of": lambda d, n, t: runs.count_open_of(d, n),
    "list_runs": lambda d, n, t: runs.list_runs(d, n, dag_id=t.dag_id, states=["running"]),
    "read_mark": lambda d, n, t: runs.read_mark(d, n, t.run_id),
    "load_plan": lambda d, n, t: runs.load_plan(d, n, t.run_id),
    "list_tasks": lambda d, n, t: tasks.list_tasks(d, n, t.run_id),
    "get_task": lambda d, n, t: tasks.get_task(d, n, t.run_id, "算子_0"),
    "list_attempts": lambda d, n, t: tasks.list_attempts(d, n, t.run_id, 0),
    "get_attempt": lambda d, n, t: tasks.get_attempt(d, n, t.run_id, 0, 1),
    "list_artifacts": lambda d, n, t: tasks.list_artifacts(d, n, t.run_id, 0),
    "list_unfinished_operators": lambda d, n, t: tasks.list_unfinished_operators(d, n, t.run_id),
    "find_reusable": lambda d, n, t: tasks.find_reusable(d, n, FINGERPRINTS, runs=[t.run_id]),
}
WRITES: dict[str, _Call] = {
    "add_command": lambda d, n, t: commands.add_command(d, n, t.run_id, "cancel"),
    "store_dag": lambda d, n, t: dags.store_dag(d, _new_dag(n), dag_id=t.dag_id),
    "delete_dag": lambda d, n, t: dags.delete_dag(d, n, t.dag_id),
    "add_version": lambda d, n, t: datasets.add_version(d, _version(n, t, 1)),
    "set_inspection": lambda d, n, t: datasets.set_inspection(
        d, n, t.dataset_id, 1, Inspection(state="ready", preview={"rows": 0})
    ),
}
CREATE = {"accept_run", "prepare_post", "reserve_version", "claim"}
"""These make something new, in the namespace that they are told."""


@pytest.fixture
def things(database: Database, leader: SchedulerStore) -> Things:
    """One of everything, in the namespace `team-a`."""
    stored = dags.store_dag(database, make_new_dag(namespace="team-a"))
    run_id = accept_sample_run(
        database, namespace="team-a", dag_id=stored.dag.id, idempotency_key=KEY
    ).id
    leader.load_runs([run_id])
    leader.commit(make_full_batch(run_id))
    command = commands.add_command(database, "team-a", run_id, "pause")
    dataset_id, version = datasets.reserve_version(database, "team-a", "数据")
    made = Things(run_id, stored.dag.id, dataset_id, command.id)
    datasets.add_version(database, replace(_version("team-a", made, version), name="mine"))
    datasets.set_inspection(
        database, "team-a", dataset_id, 1, Inspection(state="ready", preview={"rows": 3})
    )
    return made


def test_every_function_that_the_api_may_call_is_asked_here() -> None:
    found = {
        name
        for module in MODULES
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and next(iter(inspect.signature(function).parameters), "") in ("database", "connection")
    }
    assert found == OVER_ALL | CREATE | set(READS) | set(WRITES)


def is_nothing(found: Any) -> bool:
    return not (found.items if isinstance(found, Page) else found)


@pytest.mark.parametrize("name", READS)
def test_what_is_read_is_that_of_the_namespace(
    database: Database, things: Things, name: str
) -> None:
    assert not is_nothing(READS[name](database, "team-a", things))
    for other in ("default", "team-b", "TEAM-A", ""):
        try:
            found = READS[name](database, other, things)
        except NotFoundError:
            continue
        assert is_nothing(found)


def _dump(database: Database) -> dict[str, list[Any]]:
    return database.read(
        lambda connection: {
            table.name: [tuple(row) for row in connection.execute(sa.select(table))]
            for table in tables.metadata.sorted_tables
        }
    )


@pytest.mark.parametrize("name", WRITES)
def test_nothing_is_changed_through_another_namespace(
    database: Database, things: Things, name: str
) -> None:
    before = _dump(database)
    with pytest.raises(NotFoundError):
        WRITES[name](database, "team-b", things)
    assert _dump(database) == before

    WRITES[name](database, "team-a", things)
    if name != "add_version":
        assert _dump(database) != before


def test_same_key_name_and_id_make_things_of_their_own_in_another_namespace(
    database: Database, things: Things
) -> None:
    run = accept_sample_run(database, namespace="team-b", idempotency_key=KEY)
    dag = dags.store_dag(database, make_new_dag(namespace="team-b"))
    dataset = datasets.reserve_version(database, "team-b", things.dataset_id)

    assert run.id != things.run_id
    assert (dag.is_new_dag, dag.dag.id != things.dag_id) == (True, True)
    assert dataset == (things.dataset_id, 1)
