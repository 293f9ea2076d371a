"""Definitions: same content, same version; names; preconditions; sources as posted."""

from __future__ import annotations

import os

import pytest
import sqlalchemy as sa

from dag_engine.storage import chunks, dags, tables
from dag_engine.storage.database import Database
from dag_engine.storage.errors import (
    InvalidCursorError,
    NameTakenError,
    NotFoundError,
    PreconditionFailedError,
)
from dag_engine.storage.rows import NewEdge, NewOperator
from tests.support.at_once import run_at_once
from tests.support.interleaving import meanwhile
from tests.support.stored_samples import make_new_dag


def test_the_same_content_is_the_same_version(database: Database) -> None:
    first = dags.store_dag(database, make_new_dag())
    again = dags.store_dag(database, make_new_dag())
    assert (first.is_new_dag, first.is_new_version) == (True, True)
    assert (again.is_new_dag, again.is_new_version) == (False, False)
    assert again.dag == first.dag
    assert again.dag.current.version == 1


def test_another_content_under_the_same_name_is_a_new_version(database: Database) -> None:
    first = dags.store_dag(database, make_new_dag("one")).dag
    second = dags.store_dag(database, make_new_dag("two"))
    assert (second.is_new_dag, second.is_new_version) == (False, True)
    assert (second.dag.id, second.dag.current.version) == (first.id, 2)
    assert second.dag.etag != first.etag


def test_an_older_content_becomes_the_present_version_again(database: Database) -> None:
    first = dags.store_dag(database, make_new_dag("one")).dag
    dags.store_dag(database, make_new_dag("two"))
    back = dags.store_dag(database, make_new_dag("one"))
    assert not back.is_new_version
    assert (back.dag.current.version, back.dag.n_versions) == (1, 2)
    assert back.dag.etag == first.etag
    third = dags.store_dag(database, make_new_dag("three")).dag
    assert third.current.version == 3


def test_a_dag_without_name_is_found_by_its_content(database: Database) -> None:
    first = dags.store_dag(database, make_new_dag("one", name=""))
    again = dags.store_dag(database, make_new_dag("one", name=""))
    other = dags.store_dag(database, make_new_dag("two", name=""))
    assert again.dag.id == first.dag.id
    assert other.is_new_dag
    assert not again.is_new_version
    assert dags.store_dag(database, make_new_dag("one", name="credit default")).is_new_dag


def test_names_differ_by_case_and_by_namespace(database: Database) -> None:
    names = {
        dags.store_dag(database, make_new_dag(name=name, namespace=namespace)).dag.id
        for name, namespace in [("信用", "default"), ("A", "default"), ("a", "default"), ("a", "b")]
    }
    assert len(names) == 4


def test_a_put_needs_the_dag_and_the_version_it_was_made_for(database: Database) -> None:
    dag = dags.store_dag(database, make_new_dag("one")).dag
    with pytest.raises(NotFoundError):
        dags.store_dag(database, make_new_dag("two"), dag_id="dnone")
    with pytest.raises(NotFoundError):
        dags.store_dag(database, make_new_dag("two", namespace="other"), dag_id=dag.id)
    with pytest.raises(PreconditionFailedError) as refusal:
        dags.store_dag(database, make_new_dag("two"), dag_id=dag.id, if_match='"9-abc"')
    assert refusal.value.found == dag.etag
    changed = dags.store_dag(
        database, make_new_dag("two"), dag_id=dag.id, if_match=f'W/"x", "{dag.etag}"'
    ).dag
    assert changed.current.version == 2
    assert (
        dags.store_dag(database, make_new_dag("3"), dag_id=dag.id, if_match="*").dag.n_versions == 3
    )


def test_a_put_may_rename_but_not_to_the_name_of_another(database: Database) -> None:
    first = dags.store_dag(database, make_new_dag("one", name="first")).dag
    dags.store_dag(database, make_new_dag("two", name="second"))
    with pytest.raises(NameTakenError):
        dags.store_dag(database, make_new_dag("three", name="second"), dag_id=first.id)
    assert dags.get_dag(database, "default", first.id) == first
    renamed = dags.store_dag(database, make_new_dag("three", name="third"), dag_id=first.id).dag
    assert renamed.name == "third"
    assert dags.store_dag(database, make_new_dag("one", name="first")).dag.id != first.id


def test_a_put_of_a_nameless_content_that_another_dag_has_is_taken(database: Database) -> None:
    holder = dags.store_dag(database, make_new_dag("one", name="")).dag
    other = dags.store_dag(database, make_new_dag("two", name="")).dag
    put = dags.store_dag(database, make_new_dag("one", name=""), dag_id=other.id).dag
    assert put.id == other.id
    assert dags.store_dag(database, make_new_dag("one", name="")).dag.id == holder.id


def test_a_deleted_dag_frees_its_name_and_keeps_its_versions(database: Database) -> None:
    dag = dags.store_dag(database, make_new_dag()).dag
    with pytest.raises(PreconditionFailedError):
        dags.delete_dag(database, "default", dag.id, if_match="old")
    dags.delete_dag(database, "default", dag.id)
    for call in (dags.get_dag, dags.delete_dag, dags.list_dag_versions):
        with pytest.raises(NotFoundError):
            call(database, "default", dag.id)
    assert dags.list_dags(database, "default").items == []
    assert dags.get_dag_version(database, "default", dag.id, 1) == dag.current
    assert dags.store_dag(database, make_new_dag()).dag.id != dag.id


def test_the_source_comes_back_byte_for_byte(database: Database) -> None:
    data = "dag:\n  名: 😀 \r\n\0".encode() + b"%s \\ '"
    dag = dags.store_dag(database, make_new_dag(source=data, media_type="application/json")).dag
    source = dags.get_dag_source(database, "default", dag.id, 1)
    assert (source.data, source.media_type) == (data, "application/json")
    with pytest.raises(NotFoundError):
        dags.get_dag_source(database, "default", dag.id, 2)
    with pytest.raises(NotFoundError):
        dags.get_dag_version(database, "default", dag.id, 2)


def test_a_source_of_16_mib_that_cannot_be_compressed_is_stored(database: Database) -> None:
    data = os.urandom(16 * 1024 * 1024)
    dag = dags.store_dag(database, make_new_dag(source=data)).dag
    assert dags.get_dag_source(database, "default", dag.id, 1).data == data
    assert dag.current.size_bytes == len(data)


def test_operators_and_edges_stand_in_their_tables(database: Database) -> None:
    operators = [NewOperator(f"算子_{i}", "100%_\\'x", "本地", "族", "题") for i in range(3)]
    edges = [NewEdge("算子_0", 0, "算子_1", 1)]
    dag = dags.store_dag(database, make_new_dag(operators=operators, edges=edges)).dag
    assert (dag.current.n_operators, dag.current.n_edges) == (3, 1)
    rows = database.read(
        lambda c: c.execute(
            sa.select(tables.operators.c.operator, tables.operators.c.algorithm).order_by(
                tables.operators.c.idx
            )
        ).all()
    )
    assert [tuple(row) for row in rows] == [(f"算子_{i}", "100%_\\'x") for i in range(3)]
    [edge] = database.read(lambda c: c.execute(sa.select(tables.edges)).all())
    assert (edge.source, edge.source_port, edge.target, edge.target_port) == (
        "算子_0",
        0,
        "算子_1",
        1,
    )


def test_lists_are_paged_newest_first_and_stable(database: Database) -> None:
    ids = [dags.store_dag(database, make_new_dag(f"{i}", name=f"n{i}")).dag.id for i in range(5)]
    first = dags.list_dags(database, "default", limit=2)
    dags.store_dag(database, make_new_dag("new", name="new"))
    second = dags.list_dags(database, "default", limit=2, cursor=first.next_cursor)
    third = dags.list_dags(database, "default", limit=2, cursor=second.next_cursor)
    assert [dag.id for page in (first, second, third) for dag in page.items] == ids[::-1]
    assert third.next_cursor is None
    assert dags.list_dags(database, "elsewhere").items == []
    with pytest.raises(InvalidCursorError):
        dags.list_dags(database, "default", cursor="' OR 1")


def test_versions_are_paged_newest_first(database: Database) -> None:
    for content in "abc":
        dag = dags.store_dag(database, make_new_dag(content)).dag
    first = dags.list_dag_versions(database, "default", dag.id, limit=2)
    rest = dags.list_dag_versions(database, "default", dag.id, limit=2, cursor=first.next_cursor)
    assert [v.version for v in first.items + rest.items] == [3, 2, 1]
    with pytest.raises(InvalidCursorError):
        dags.list_dag_versions(database, "default", dag.id, cursor="-1")


@pytest.mark.parametrize("way", ["deleted", "renamed"])
def test_a_dag_that_goes_while_its_name_is_posted_is_made_anew(
    database: Database, way: str
) -> None:
    first = dags.store_dag(database, make_new_dag("one", name="mine")).dag

    def take_away() -> None:
        if way == "deleted":
            dags.delete_dag(database, "default", first.id)
        else:
            dags.store_dag(database, make_new_dag("two", name="other"), dag_id=first.id)

    with meanwhile(database, "dags.lookup = ", take_away):
        stored = dags.store_dag(database, make_new_dag("three", name="mine"))
    assert (stored.is_new_dag, stored.dag.n_versions) == (True, 1)
    assert stored.dag.id != first.id
    assert stored.dag == dags.get_dag(database, "default", stored.dag.id)


def test_a_dag_that_comes_while_its_name_is_posted_gets_a_version(database: Database) -> None:
    with meanwhile(
        database, "dags.lookup = ", lambda: dags.store_dag(database, make_new_dag("one"))
    ):
        stored = dags.store_dag(database, make_new_dag("two"))
    assert (stored.is_new_dag, stored.is_new_version, stored.dag.n_versions) == (False, True, 2)


def test_a_content_that_is_stored_already_is_not_packed_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dags.store_dag(database, make_new_dag()).dag
    monkeypatch.delattr(chunks, "cut")
    assert dags.store_dag(database, make_new_dag()).dag == first


def test_posts_at_once_make_one_dag_and_one_version_each_content(database: Database) -> None:
    ids = run_at_once(8, lambda n: dags.store_dag(database, make_new_dag(f"{n % 2}")).dag.id)
    assert len(set(ids)) == 1
    assert dags.get_dag(database, "default", ids[0]).n_versions == 2
