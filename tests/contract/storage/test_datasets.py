"""Data sets and their versions."""

from __future__ import annotations

from typing import Any

import pytest

from dag_engine.storage import datasets
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NotFoundError
from dag_engine.storage.rows import DatasetRecord, Inspection, NewDatasetVersion
from executors.base import DatasetRef
from tests.support.at_once import run_at_once


def add(database: Database, dataset_id: str | None = "40", **changes: Any) -> DatasetRecord:
    namespace = changes.get("namespace", "default")
    chosen, version = datasets.reserve_version(database, namespace, dataset_id)
    values: dict[str, Any] = {
        "dataset_id": chosen,
        "version": version,
        "uri": f"file:///store/datasets/{chosen}/v{version}/数据.csv",
        "format": "csv",
        "filename": "数据.csv",
        "sha256": "c" * 64,
        "size_bytes": 2**40,
        "options": {"encoding": "gb18030"},
    }
    return datasets.add_version(database, NewDatasetVersion(**{**values, **changes}))


def test_a_data_set_is_read_back(database: Database) -> None:
    added = add(database, name="credit 信用", created_by="小王", is_in_place=True)
    assert added == datasets.get_dataset(database, "default", "40")
    assert (added.id, added.name, added.latest.version) == ("40", "credit 信用", 1)
    latest = added.latest
    assert (latest.filename, latest.size_bytes, latest.is_in_place) == ("数据.csv", 2**40, True)
    assert (latest.options, latest.inspection, latest.schema) == ({"encoding": "gb18030"}, "", None)
    assert datasets.find_datasets(database, "default", ["40", "41"]) == {
        "40": DatasetRef(
            id="40",
            version=1,
            uri="file:///store/datasets/40/v1/数据.csv",
            format="csv",
            sha256="c" * 64,
            size_bytes=2**40,
            options={"encoding": "gb18030"},
        )
    }


def test_adding_under_an_existing_id_makes_a_new_version(database: Database) -> None:
    add(database, name="old name")
    second = add(database)
    assert (second.latest.version, second.name) == (2, "old name")
    third = add(database, name="new name")
    assert third.name == "new name"
    listed = datasets.list_versions(database, "default", "40", limit=2)
    rest = datasets.list_versions(database, "default", "40", cursor=listed.next_cursor)
    assert [v.version for v in listed.items + rest.items] == [3, 2, 1]
    assert datasets.get_version(database, "default", "40", 1).version == 1


def test_a_reserved_version_is_not_seen_before_it_is_added(database: Database) -> None:
    assert datasets.reserve_version(database, "default", "40") == ("40", 1)
    with pytest.raises(NotFoundError):
        datasets.get_dataset(database, "default", "40")
    assert datasets.list_datasets(database, "default").items == []
    assert add(database).latest.version == 2


def test_an_older_upload_that_ends_later_does_not_become_the_latest(database: Database) -> None:
    _, slow = datasets.reserve_version(database, "default", "40")
    add(database)
    late = NewDatasetVersion(dataset_id="40", version=slow, uri="file:///late")
    assert datasets.add_version(database, late).latest.version == 2
    assert datasets.get_version(database, "default", "40", 1).uri == "file:///late"


def test_adding_the_same_version_again_changes_nothing(database: Database) -> None:
    add(database)
    again = NewDatasetVersion(dataset_id="40", version=1, uri="file:///other")
    assert datasets.add_version(database, again).latest.uri.endswith("数据.csv")
    with pytest.raises(NotFoundError):
        datasets.add_version(
            database, NewDatasetVersion(dataset_id="40", version=2, uri="file:///not-reserved")
        )


def test_a_data_set_without_id_gets_one(database: Database) -> None:
    first, second = add(database, None), add(database, None)
    assert first.id != second.id
    assert first.id.isalnum()


def test_ids_are_told_apart_by_case_and_namespace(database: Database) -> None:
    for dataset_id, namespace in [("a", "default"), ("A", "default"), ("a", "b"), ("信用", "b")]:
        assert add(database, dataset_id, namespace=namespace).latest.version == 1
    page = datasets.list_datasets(database, "default", limit=1)
    rest = datasets.list_datasets(database, "default", cursor=page.next_cursor)
    assert [item.id for item in page.items + rest.items] == ["A", "a"]
    assert [item.id for item in datasets.list_datasets(database, "b").items] == ["a", "信用"]


def test_what_a_worker_found_is_kept(database: Database) -> None:
    add(database)
    schema = [{"name": "年龄", "type": "int64"}]
    preview = {"columns": ["年龄"], "rows": [[42], [None]]}
    ready = Inspection(state="ready", schema=schema, preview=preview, row_count=30_000)
    datasets.set_inspection(database, "default", "40", 1, ready)
    version = datasets.get_version(database, "default", "40", 1)
    assert (version.inspection, version.schema, version.row_count) == ("ready", schema, 30_000)
    assert datasets.load_preview(database, "default", "40", 1) == preview
    failed = Inspection(state="failed", error="no such column")
    datasets.set_inspection(database, "default", "40", 1, failed)
    version = datasets.get_version(database, "default", "40", 1)
    assert (version.inspection, version.inspection_error) == ("failed", "no such column")
    with pytest.raises(NotFoundError):
        datasets.set_inspection(database, "default", "40", 2, ready)
    with pytest.raises(NotFoundError):
        datasets.load_preview(database, "default", "41", 1)
    long = Inspection(state="ready", preview="x" * 3_000_000)
    with pytest.raises(ValueError, match="2 MiB"):
        datasets.set_inspection(database, "default", "40", 1, long)


def test_uploads_at_once_get_different_versions(database: Database) -> None:
    versions = run_at_once(6, lambda _: add(database).latest.version)
    page = datasets.list_versions(database, "default", "40")
    assert [version.version for version in page.items] == [6, 5, 4, 3, 2, 1]
    assert max(versions) == 6
