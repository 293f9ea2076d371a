"""A model that a worker has just stored or read is not read again, and nobody shares it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from algorithms.base import FittedModel
from executors.base import ArtifactRef
from executors.runtime import models, recent_models
from executors.runtime.errors import InvalidInputError
from executors.store import get_local_path
from tests.support.attempts import Workshop

X = np.array([[0.0], [1.0], [2.0], [3.0]])
Y = np.array([0, 0, 1, 1])


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    recent_models.forget_all()
    yield
    recent_models.forget_all()


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Collect the model files that are read."""
    paths: list[Path] = []
    decode = models.decode_model

    def note(path: Path) -> dict[str, Any]:
        paths.append(path)
        return decode(path)

    monkeypatch.setattr(models, "decode_model", note)
    return paths


def store(workshop: Workshop, strength: float = 1.0) -> ArtifactRef:
    estimator = LogisticRegression(C=strength).fit(X, Y)
    return workshop.store(FittedModel(estimator, ["x"], "y", 1))


def test_a_model_just_stored_is_not_read(workshop: Workshop, reads: list[Path]) -> None:
    loaded = workshop.load(store(workshop))
    assert reads == []
    assert (loaded.columns, loaded.target, loaded.positive_class) == (["x"], "y", 1)
    assert loaded.estimator.predict(X).tolist() == Y.tolist()


def test_a_model_just_read_is_not_read_again(workshop: Workshop, reads: list[Path]) -> None:
    ref = store(workshop)
    recent_models.forget_all()
    workshop.load(ref)
    workshop.load(ref)
    assert len(reads) == 1


def test_what_a_task_does_to_its_model_reaches_no_other(workshop: Workshop) -> None:
    estimator = LogisticRegression().fit(X, Y)
    ref = workshop.store(FittedModel(estimator, ["x"], "y", 1))
    estimator.coef_[:] = -5.0
    first = workshop.load(ref)
    assert first.estimator.coef_[0, 0] > 0
    first.estimator.coef_[:] = -7.0
    first.columns.append("z")
    again = workshop.load(ref)
    assert again.estimator.coef_[0, 0] > 0
    assert again.columns == ["x"]


def test_a_kept_model_predicts_what_its_file_predicts(workshop: Workshop) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 5)), rng.integers(0, 2, 200)
    estimator = GradientBoostingClassifier(n_estimators=20, random_state=1).fit(x, y)
    ref = workshop.store(FittedModel(estimator, list("abcde"), "y", 1))
    kept = workshop.load(ref).estimator.predict_proba(x)
    recent_models.forget_all()
    read = workshop.load(ref).estimator.predict_proba(x)
    assert kept.tobytes() == read.tobytes()


def test_a_model_whose_file_is_gone_is_not_served(workshop: Workshop) -> None:
    ref = store(workshop)
    Path(get_local_path(ref.uri)).unlink()
    with pytest.raises(InvalidInputError, match="is gone"):
        workshop.load(ref)


def test_two_models_are_kept_and_none_that_is_large(
    workshop: Workshop, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [store(workshop, strength) for strength in (0.1, 1.0, 10.0)]
    for ref in reversed(refs):
        workshop.load(ref)
    assert [str(path) for path in reads] == [get_local_path(refs[0].uri)]
    recent_models.forget_all()
    monkeypatch.setattr(recent_models, "LARGEST_BYTES", refs[0].size_bytes - 1)
    workshop.load(store(workshop))
    assert len(reads) == 2
