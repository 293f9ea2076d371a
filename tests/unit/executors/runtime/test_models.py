import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from algorithms.base import FittedModel
from executors.runtime.errors import InvalidInputError, InvalidOutputError
from executors.runtime.models import decode_model, encode_model
from executors.store import get_local_path
from tests.support.attempts import Workshop
from tests.support.sample_algorithms import MODULE

X = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
Y = np.array([0, 0, 1, 1])
ESTIMATORS = [
    LogisticRegression(),
    LogisticRegression(solver="lbfgs", C=np.inf),
    GradientBoostingClassifier(n_estimators=3, random_state=1),
    GradientBoostingClassifier(n_estimators=3, loss="exponential", init="zero", random_state=1),
    RandomForestClassifier(n_estimators=3, random_state=1),
    DecisionTreeClassifier(),
]


def make_model(estimator=None):
    estimator = LogisticRegression() if estimator is None else estimator
    return FittedModel(estimator.fit(X, Y), list(X.columns), "y", 1)


def write_model(path, data=None):
    path.write_bytes(data or encode_model("model", make_model()))
    return path


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_estimators_come_back_as_they_were(tmp_path, estimator):
    model = make_model(estimator)
    content = decode_model(write_model(tmp_path / "m.skops", encode_model("m", model)))
    assert (content["columns"], content["target"], content["positive_class"]) == (
        ["a", "b"],
        "y",
        1,
    )
    expected = model.estimator.predict_proba(X)
    assert np.array_equal(content["estimator"].predict_proba(X), expected)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_equal_models_have_equal_bytes(estimator):
    one = encode_model("m", make_model(estimator))
    keep_addresses_apart = [object() for _ in range(100)]
    other = encode_model("m", make_model(type(estimator)(**estimator.get_params())))
    assert keep_addresses_apart
    assert one == other


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_a_skops_without_these_functions_serves_by_its_public_face(
    tmp_path, monkeypatch, estimator
):
    model = make_model(estimator)
    expected = encode_model("m", model)
    for module in ("skops.io._utils", "skops.io._audit"):
        monkeypatch.setitem(sys.modules, module, None)
    data = encode_model("m", model)
    assert data == expected
    content = decode_model(write_model(tmp_path / "m.skops", data))
    assert np.array_equal(content["estimator"].predict_proba(X), model.estimator.predict_proba(X))


def test_types_are_judged_anew_where_one_of_them_was_not_seen_before():
    encode_model("m", make_model())
    with pytest.raises(InvalidOutputError, match=r"no model may hold: .*Foreign"):
        encode_model("m", FittedModel(Foreign(), ["x"]))
    with pytest.raises(InvalidOutputError, match=r"no model may hold: .*Foreign"):
        encode_model("m", FittedModel(Foreign(), ["x"]))


def test_the_collector_of_cycles_goes_on_after_a_model(tmp_path):
    import gc

    path = write_model(tmp_path / "m.skops")
    decode_model(path)
    assert gc.isenabled()
    path.write_bytes(b"damaged")
    with pytest.raises(InvalidInputError):
        decode_model(path)
    assert gc.isenabled()


def test_equal_models_of_two_processes_have_equal_bytes():
    code = (
        "import sys, hashlib\n"
        "from tests.unit.executors.runtime import test_models as t\n"
        "data = t.encode_model('m', t.make_model(t.ESTIMATORS[2]))\n"
        "print(hashlib.sha256(data).hexdigest())\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[4],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    own = encode_model("m", make_model(ESTIMATORS[2]))
    assert finished.stdout.strip() == hashlib.sha256(own).hexdigest()


def test_a_model_remembers_the_table_it_was_fitted_on(tmp_path):
    workshop = Workshop(tmp_path)
    rows = workshop.store(X.assign(y=Y))
    (model,) = workshop.succeed(f"{MODULE}:fit", inputs=[[rows]])
    assert model.meta["fitted_on"]["sha256"] == rows.sha256
    assert model.meta["columns"] == ["a", "b"]
    (seen,) = workshop.succeed(f"{MODULE}:describe_model", inputs=[[model]])
    assert (seen.inline["rows"], seen.inline["positive_class"]) == (4, 1)


def test_types_beyond_the_list_are_refused_when_storing():
    with pytest.raises(InvalidOutputError, match=r"no model may hold: .*Foreign"):
        encode_model("m", FittedModel(Foreign(), ["x"]))


class Foreign:
    pass


def test_a_file_that_names_another_type_is_refused(tmp_path):
    data = encode_model("m", make_model())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members["schema.json"])
    schema["content"]["estimator"] |= {"__module__": "os", "__class__": "system"}
    members["schema.json"] = json.dumps(schema).encode()
    path = tmp_path / "m.skops"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(InvalidInputError, match=r"is refused: .*os\.system"):
        decode_model(path)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_a_pickle_is_refused_and_runs_nothing(tmp_path):
    canary = tmp_path / "canary"
    path = write_model(tmp_path / "m.skops", pickle.dumps(Harmful(str(canary))))
    with pytest.raises(InvalidInputError, match="is damaged"):
        decode_model(path)
    array = io.BytesIO()
    np.save(array, np.array([Harmful(str(canary))], dtype=object), allow_pickle=True)
    path = rewrite(tmp_path, replace=array.getvalue())
    with pytest.raises(InvalidInputError, match="pickled objects"):
        decode_model(path)
    assert not canary.exists()


def rewrite(tmp_path, *, compression=zipfile.ZIP_STORED, replace=None):
    """Write a model again with another compression, or with every array replaced."""
    data = encode_model("m", make_model())
    path = tmp_path / "rewritten.skops"
    with (
        zipfile.ZipFile(io.BytesIO(data)) as archive,
        zipfile.ZipFile(path, "w", compression=compression) as target,
    ):
        for name in archive.namelist():
            content = archive.read(name)
            target.writestr(name, replace if replace and name.endswith(".npy") else content)
    return path


def test_a_compressed_archive_is_refused(tmp_path):
    path = rewrite(tmp_path, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InvalidInputError, match="is compressed"):
        decode_model(path)


def test_an_array_that_declares_more_than_it_has_is_refused(tmp_path):
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        array, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
    )
    path = rewrite(tmp_path, replace=array.getvalue())
    with pytest.raises(InvalidInputError, match="declares an array larger"):
        decode_model(path)


def test_an_array_is_checked_whatever_its_name_ends_with(tmp_path):
    data = encode_model("m", make_model())
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        array, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
    )
    path = tmp_path / "m.skops"
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            is_array = name.endswith(".npy")
            content = source.read(name).replace(b".npy", b".bin")
            target.writestr(name.replace(".npy", ".bin"), array.getvalue() if is_array else content)
    with pytest.raises(InvalidInputError, match="declares an array larger"):
        decode_model(path)


@pytest.mark.parametrize("cut", [0, 10, 1000])
def test_a_truncated_file_is_refused(tmp_path, cut):
    path = write_model(tmp_path / "m.skops", encode_model("m", make_model())[:cut] or b"\0")
    with pytest.raises(InvalidInputError, match="is damaged"):
        decode_model(path)


def test_the_file_behind_a_reference_is_an_archive_with_a_fixed_date(tmp_path):
    workshop = Workshop(tmp_path)
    ref = workshop.store(make_model())
    with zipfile.ZipFile(get_local_path(ref.uri)) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
