"""By what work is known: each part that counts makes another key, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs, to_builtins

from dag_engine.core.plan import PlannedTask
from dag_engine.core.work_keys import (
    find_fitted_on,
    make_work_base,
    make_work_keys,
    print_artifact,
)
from executors.base import AlgorithmOffer, ArtifactRef, DatasetRef

OFFER = AlgorithmOffer(name="fit", entry="m:f", version="1", code_version="1+aaa")
DATA = {"40": DatasetRef(id="40", version=1, uri="file:///d", sha256="ab")}
SEALED = {("connection", "main"): "2026-01-01"}
TABLE = ArtifactRef(
    type="table", uri="file:///store/runs/r1/0/1/0.arrow", sha256="cd", size_bytes=7
)
MODEL = ArtifactRef(
    type="model",
    uri="file:///store/runs/r1/1/1/0.skops",
    sha256="ef",
    size_bytes=9,
    meta={"target": "y", "fitted_on": to_builtins(TABLE)},
)


def base(**changes: Any) -> str:
    values: dict[str, Any] = {
        "offer": OFFER, "params": {"C": 1.0}, "datasets": DATA, "sealed": SEALED, **changes
    }  # fmt: skip
    return make_work_base(**values)


def task(**changes: Any) -> PlannedTask:
    values = {"work_base": "base", "seed": 7, **changes}
    return PlannedTask(index=0, operator="a", algorithm="fit", entry="m:f", **values)


@pytest.mark.parametrize(
    "changes",
    [
        {"offer": structs.replace(OFFER, name="other")},
        {"offer": structs.replace(OFFER, code_version="1+bbb")},
        {"params": {"C": 2.0}},
        {"params": {"C": 1.0, "tol": 0.1}},
        {"datasets": {"40": structs.replace(DATA["40"], version=2)}},
        {"datasets": {"40": structs.replace(DATA["40"], sha256="ac")}},
        {"sealed": {("connection", "main"): "2026-01-02"}},
    ],
)
def test_other_work_has_another_base(changes: dict[str, Any]) -> None:
    assert base(**changes) != base() == base()


@pytest.mark.parametrize(
    "changes",
    [
        {"offer": structs.replace(OFFER, title="Fit", doc="better told")},
        {"datasets": {"40": structs.replace(DATA["40"], uri="file:///elsewhere")}},
    ],
)
def test_what_it_is_called_and_where_it_lies_does_not_count(changes: dict[str, Any]) -> None:
    assert base(**changes) == base()


@pytest.mark.parametrize(
    "changes",
    [
        {"datasets": {"40": structs.replace(DATA["40"], sha256="")}},
        {"sealed": {("secret", "key"): ""}},
    ],
)
def test_what_is_not_pinned_is_not_known(changes: dict[str, Any]) -> None:
    assert base(**changes) == ""


def test_the_seed_makes_another_seeded_key_only() -> None:
    one, other = (make_work_keys(task(seed=seed), [[TABLE]]) for seed in (7, 8))
    assert one.plain == other.plain
    assert len({one.plain, one.seeded, other.seeded}) == 3
    assert one.choose(has_read_seed=True) == one.seeded
    assert one.choose(has_read_seed=False) == one.plain


@pytest.mark.parametrize(
    "inputs",
    [
        [[structs.replace(TABLE, sha256="ce")], [MODEL]],
        [[TABLE], [structs.replace(MODEL, sha256="ee")]],
        [[MODEL], [TABLE]],
        [[TABLE, TABLE], [MODEL]],
        [[], [MODEL]],
        [[TABLE], [structs.replace(MODEL, meta={**MODEL.meta, "target": "z"})]],
    ],
)
def test_another_input_is_other_work(inputs: list[list[ArtifactRef]]) -> None:
    assert make_work_keys(task(), inputs) != make_work_keys(task(), [[TABLE], [MODEL]])


def test_the_table_that_a_model_was_fitted_on_counts_and_not_where_it_lies() -> None:
    def fitted_on(**changes: Any) -> Any:
        table = to_builtins(structs.replace(TABLE, **changes))
        model = structs.replace(MODEL, meta={**MODEL.meta, "fitted_on": table})
        return make_work_keys(task(), [[model]])

    assert fitted_on(sha256="other") != fitted_on()
    assert fitted_on(uri="file:///store/runs/r2/0/1/0.arrow") == fitted_on()


def test_a_value_that_came_along_is_known_by_itself_whatever_digest_it_claims() -> None:
    keys = {
        make_work_keys(task(), [[ArtifactRef(type="report", sha256="ab", inline={"n": n})]])
        for n in (1, 2)
    }
    assert len(keys) == 2


def test_a_stored_model_whose_table_nobody_can_read_is_known_without_it() -> None:
    odd = ArtifactRef(type="model", uri="file:///m", meta={"fitted_on": {"type": 5}})
    plain = ArtifactRef(type="model", uri="file:///m")
    assert find_fitted_on(odd) is None
    assert print_artifact(odd) == print_artifact(plain)
