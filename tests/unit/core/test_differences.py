"""Why one result is not the other's, part by part."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from dag_engine.core.differences import list_differences
from dag_engine.core.plan import PlannedTask
from executors.base import ArtifactRef, DatasetRef

DATA = {"40": DatasetRef(id="40", version=1, uri="file:///d", sha256="ab")}
REF = ArtifactRef(type="table", uri="file:///a", sha256="0123456789abcdef", size_bytes=7)
TASK = PlannedTask(
    index=0,
    operator="a",
    algorithm="fit",
    entry="m:f",
    code_version="1+aaa",
    params={"C": 1.0, "data_id": 40},
    datasets=DATA,
    seed=7,
    work_base="one",
)


def compare(*, has_read_seed: bool = False, former_ref: ArtifactRef = REF, **changes: Any) -> Any:
    former = structs.replace(TASK, **changes)
    found = list_differences(TASK, [[REF]], former, [[former_ref]], has_read_seed=has_read_seed)
    return [(one.part, one.name, one.now, one.former) for one in found]


def test_equal_work_differs_in_nothing() -> None:
    assert compare(operator="b", seed=8) == []


def test_every_part_is_named_with_both_values() -> None:
    other = {"work_base": "two"}
    assert compare(algorithm="other", **other) == [("algorithm", "", "fit", "other")]
    assert compare(code_version="1+bbb", **other) == [("code", "", "1+aaa", "1+bbb")]
    assert compare(params={"C": 2.0, "data_id": "40", "tol": 1}, **other) == [
        ("parameter", "C", "1.0", "2.0"),
        ("parameter", "tol", "left out", "1"),
    ]
    newer = {"40": structs.replace(DATA["40"], version=2)}
    assert compare(datasets=newer, **other) == [("dataset", "40", "version 1", "version 2")]
    assert compare(**other) == [("sealed", "", "", "")]
    digest = structs.replace(REF, sha256="fedcba9876543210")
    assert compare(former_ref=digest) == [("input", "0", "0123456789ab", "fedcba987654")]


def test_the_seed_counts_where_it_was_read() -> None:
    assert compare(seed=8, has_read_seed=True) == [("seed", "", "7", "8")]
    assert compare(seed=8, has_read_seed=False) == []


def test_a_difference_is_told_in_words() -> None:
    former = structs.replace(TASK, params={"C": 2.0, "data_id": 40}, work_base="two")
    [found] = list_differences(TASK, [], former, [], has_read_seed=False)
    assert found.message == "the parameter C differs: 1.0 now, 2.0 then"
