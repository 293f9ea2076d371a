"""Rows for several tables go to a server in one message, to SQLite one table after the other."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from dag_engine.storage import bulk, mysql_text, tables
from dag_engine.storage.database import Database
from tests.support.stored_samples import accept_sample_run

_sets = tables.datasets
MOMENT = dt.datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=dt.UTC)
NAME = "100 % \\ 'quoted' %s ; -- 信用"


def make_row(dataset_id: str) -> dict[str, Any]:
    return {
        "namespace": "default",
        "dataset_id": dataset_id,
        "name": NAME,
        "created_at": MOMENT,
        "updated_at": MOMENT,
    }


def list_names(connection: Connection) -> list[str]:
    return list(connection.scalars(sa.select(_sets.c.name)))


def test_gathered_rows_are_there_after_the_flush(database: Database) -> None:
    def work(connection: Connection) -> tuple[int, list[str]]:
        inserts = bulk.Inserts(connection, gathers=True)
        inserts.add_row(_sets, make_row("a"))
        inserts.add_row(_sets, make_row("b"))
        n_before = len(list_names(connection))
        inserts.flush()
        inserts.flush()
        return n_before, list_names(connection)

    n_before, names = database.run_txn(work)
    assert n_before == (2 if database.dialect == "sqlite" else 0)
    assert names == [NAME, NAME]


def test_rows_that_are_not_gathered_are_there_at_once(database: Database) -> None:
    def work(connection: Connection) -> list[str]:
        bulk.Inserts(connection).add_row(_sets, make_row("a"))
        return list_names(connection)

    assert database.run_txn(work) == [NAME]


def test_a_gathered_row_that_is_there_already_raises_and_the_transaction_goes_on(
    database: Database,
) -> None:
    def insert(inserts: bulk.Inserts, *dataset_ids: str) -> None:
        for dataset_id in dataset_ids:
            inserts.add_row(_sets, make_row(dataset_id))
        inserts.flush()

    def work(connection: Connection) -> list[str]:
        inserts = bulk.Inserts(connection, gathers=True)
        insert(inserts, "a")
        with pytest.raises(IntegrityError):
            insert(inserts, "a", "b")
        bulk.Inserts(connection).add_row(_sets, make_row("c"))
        return list(connection.scalars(sa.select(_sets.c.dataset_id)))

    assert sorted(database.run_txn(work)) == ["a", "c"]


def test_columns_in_another_order_than_the_tables_are_refused(database: Database) -> None:
    row = dict(reversed(make_row("a").items()))
    with pytest.raises(ValueError, match="columns of datasets are not in its order"):
        database.run_txn(lambda c: bulk.Inserts(c).add_row(_sets, row))


@pytest.mark.mysql
def test_a_run_is_accepted_in_one_message(
    server_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered: list[int] = []
    gather = mysql_text.gather

    def note(statements: Any) -> list[str]:
        texts = list(statements)
        gathered.append(len(texts))
        return list(gather(iter(texts)))

    monkeypatch.setattr(mysql_text, "gather", note)
    accept_sample_run(server_database)
    assert gathered == [3], "its row, its plan and its tasks"
