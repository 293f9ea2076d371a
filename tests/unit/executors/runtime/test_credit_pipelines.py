"""The pipelines of the examples, operator by operator through the runtime."""

from pathlib import Path

import pandas as pd
import pytest

from tests.support.attempts import Workshop, refer_to_file
from tests.support.credit_data import FEATURES, make_credit_table, write_credit_csv
from tests.unit.algorithms.test_models import OLD_GBDT, OLD_LOGISTIC

READ = "algorithms.source.algo_local_read_file"
FILL = "algorithms.preprocessing.algo_fill_missing"
ENCODE = "algorithms.preprocessing.algo_encode_categories"
SPLIT = "algorithms.preprocessing.algo_local_split_data"
LOGISTIC = "algorithms.model.algo_local_model_2c_l"
GBDT = "algorithms.model.algo_local_model_gbdt"
PREDICT = "algorithms.model.algo_local_model_predict"
EVALUATE = "algorithms.evaluation.algo_local_model_2c_eval"
GERMAN = Path(__file__).parents[4] / "config/datasets/german_credit.csv"


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path / "home")


def run_front_ends_pipeline(workshop, path):
    """Run the front end's file: GBDT on the small part only names the rows that are predicted."""
    target = {"x_cols": FEATURES, "y_col": "next_month", "pre_value": 1}
    (rows,) = workshop.succeed(READ, {"data_id": 40}, datasets=refer_to_file(path, "40"))
    large, small = workshop.succeed(
        SPLIT, {"split_type": 1, "ext1": 0.8, "ext2": None}, inputs=[[rows]], seed=5
    )
    (logistic,) = workshop.succeed(LOGISTIC, {**target, **OLD_LOGISTIC}, inputs=[[large]], seed=6)
    (gbdt,) = workshop.succeed(GBDT, {**target, **OLD_GBDT}, inputs=[[small]], seed=7)
    (predicted,) = workshop.succeed(PREDICT, {"x_cols": FEATURES}, inputs=[[gbdt], [logistic]])
    (report,) = workshop.succeed(
        EVALUATE,
        {"y_col": "next_month", "pre_col": "predict_result", "pre_value": 1},
        inputs=[[predicted]],
    )
    return [rows, large, small, logistic, gbdt, predicted, report]


def test_the_synthetic_clients_default_as_often_as_the_real_ones():
    table = make_credit_table()
    assert table["next_month"].mean() == pytest.approx(0.2212, abs=0.001)
    assert (table.dtypes == "int64").all()


def test_the_front_ends_pipeline_runs_with_its_parameters_of_2018(workshop, tmp_path):
    references = run_front_ends_pipeline(workshop, write_credit_csv(tmp_path / "credit.csv"))
    assert [ref.rows for ref in references[:3]] == [6000, 4800, 1200]
    predicted = workshop.load(references[5])
    small = workshop.load(references[2])
    assert predicted["ID"].tolist() == small["ID"].tolist()
    report = workshop.load(references[6])
    assert 0.60 <= report["auc"] <= 0.75
    assert 0.75 <= report["accuracy"] <= 0.82
    assert report["rows"] == 1200


def test_one_seed_gives_one_result_byte_for_byte(workshop, tmp_path):
    path = write_credit_csv(tmp_path / "credit.csv", n_rows=1000)
    one = run_front_ends_pipeline(workshop, path)
    other = run_front_ends_pipeline(workshop, path)
    assert [ref.sha256 for ref in one] == [ref.sha256 for ref in other]


def test_german_credit_runs_in_two_branches(workshop):
    (rows,) = workshop.succeed(
        READ, {"data_id": "german"}, datasets=refer_to_file(GERMAN, "german")
    )
    (filled,) = workshop.succeed(FILL, inputs=[[rows]])
    (encoded,) = workshop.succeed(ENCODE, {"exclude": ["creditability"]}, inputs=[[filled]])
    train, test = workshop.succeed(
        SPLIT, {"split_type": 2, "ext1": 0.7, "ext2": "creditability"}, inputs=[[encoded]], seed=1
    )
    assert (train.rows, test.rows) == (700, 300)
    target = {"y_col": "creditability", "pre_value": "bad"}
    for entry, params in ((LOGISTIC, {"max_iter": 1000}), (GBDT, {})):
        (model,) = workshop.succeed(entry, {**target, **params}, inputs=[[train]], seed=2)
        (predicted,) = workshop.succeed(PREDICT, inputs=[[test], [model]])
        (ref,) = workshop.succeed(EVALUATE, target, inputs=[[predicted]])
        report = workshop.load(ref)
        assert report["positives"] == 90
        assert 0.72 <= report["auc"] <= 0.85


def test_a_model_fitted_here_agrees_with_plain_scikit_learn(workshop, tmp_path):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    references = run_front_ends_pipeline(workshop, write_credit_csv(tmp_path / "credit.csv"))
    large, small = workshop.load(references[1]), workshop.load(references[2])
    estimator = LogisticRegression(solver="liblinear", random_state=6)
    estimator.fit(large[FEATURES].astype(float), large["next_month"])
    score = estimator.predict_proba(small[FEATURES].astype(float))[:, 1]
    assert isinstance(small, pd.DataFrame)
    auc = roc_auc_score(small["next_month"], score)
    assert workshop.load(references[6])["auc"] == pytest.approx(auc)
