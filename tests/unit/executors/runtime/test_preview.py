import datetime as dt
import decimal

import msgspec
import pyarrow as pa
import pytest

from executors.runtime.errors import InvalidInputError
from executors.runtime.preview import preview_artifact
from tests.support.attempts import Workshop


@pytest.fixture(params=["file", "memory"])
def workshop(tmp_path, request):
    return Workshop(tmp_path, "" if request.param == "file" else f"memory://{tmp_path.name}")


def test_the_head_of_a_table_is_shown_with_its_schema(workshop):
    table = pa.table({"城市": ["北京", None, "上海"], "x": [0.5, float("nan"), float("inf")]})
    preview = preview_artifact(workshop.store(table), workshop.store_url, limit=2)
    assert [column.name for column in preview.columns] == ["城市", "x"]
    assert preview.columns[1].type == "double"
    assert preview.rows == 3
    assert preview.items == [["北京", 0.5], [None, None]]
    assert "北京" in msgspec.json.encode(preview).decode()


def test_no_more_than_the_limit_is_shown(workshop):
    ref = workshop.store(pa.table({"x": list(range(5000))}))
    assert len(preview_artifact(ref, workshop.store_url, limit=99).items) == 99
    assert len(preview_artifact(ref, workshop.store_url, limit=10_000).items) == 1000
    assert preview_artifact(ref, workshop.store_url, limit=0).items == []
    assert preview_artifact(ref, workshop.store_url, limit=-5).columns[0].name == "x"


def test_values_of_every_type_are_shown_as_json_can(workshop):
    moment = dt.datetime(2020, 1, 2, tzinfo=dt.UTC)
    table = pa.table(
        {
            "at": [moment],
            "money": [decimal.Decimal("1.10")],
            "bytes": [b"\x00\xff"],
            "list": [[1.0, float("nan")]],
            "dict": [{"键": 1}],
            "flag": [True],
        }
    )
    preview = preview_artifact(workshop.store(table), workshop.store_url)
    assert preview.items == [
        ["2020-01-02T00:00:00+00:00", "1.10", "00ff", [1.0, None], {"键": 1}, True]
    ]


def test_reports_are_shown_whole(workshop):
    assert preview_artifact(workshop.store({"a": 1}), workshop.store_url).value == {"a": 1}
    large = {"text": "字" * 5000}
    assert preview_artifact(workshop.store(large), workshop.store_url).value == large


def test_what_is_gone_or_damaged_is_told(tmp_path):
    workshop = Workshop(tmp_path)
    ref = workshop.store(pa.table({"x": [1]}))
    path = tmp_path / "artifacts/runs/rtest/0/1/0.arrow"
    path.write_bytes(b"x" * ref.size_bytes)
    with pytest.raises(InvalidInputError, match="is damaged"):
        preview_artifact(ref, workshop.store_url)
    path.unlink()
    with pytest.raises(InvalidInputError, match="is gone"):
        preview_artifact(ref, workshop.store_url)


def test_nothing_outside_the_store_is_shown(tmp_path):
    workshop = Workshop(tmp_path)
    ref = workshop.store({"text": "字" * 5000})
    with pytest.raises(InvalidInputError, match="does not lie in the store"):
        preview_artifact(ref, f"file://{tmp_path}/other")
    with pytest.raises(InvalidInputError, match="does not lie in the store"):
        preview_artifact(
            msgspec.structs.replace(ref, uri="memory://elsewhere/0.json"), workshop.store_url
        )
