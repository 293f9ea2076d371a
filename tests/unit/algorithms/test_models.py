import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from algorithms.base import AlgorithmError, Context, FittedModel
from algorithms.model.algo_local_model_2c_l import (
    LogisticRegressionParams,
    fit_logistic_regression,
)
from algorithms.model.algo_local_model_gbdt import GbdtParams, fit_gbdt
from algorithms.model.algo_local_model_predict import PredictParams, predict

OLD_LOGISTIC = {
    "penalty": "l2",
    "C": 1,
    "max_iter": 100,
    "senior": True,
    "class_weight": None,
    "dual": False,
    "fit_intercept": True,
    "intercept_scaling": 1,
    "multi_class": "ovr",
    "n_jobs": 1,
    "random_state": None,
    "solver": "liblinear",
    "tol": 0.0001,
    "verbose": 0,
    "warm_start": False,
}
OLD_GBDT = {
    "n_estimators": 10,
    "max_depth": 5,
    "senior": True,
    "criterion": "friedman_mse",
    "init": None,
    "learning_rate": 0.1,
    "loss": "deviance",
    "max_features": None,
    "max_leaf_nodes": None,
    "min_impurity_decrease": 0,
    "min_impurity_split": None,
    "min_samples_leaf": 1,
    "min_samples_split": 2,
    "min_weight_fraction_leaf": 0,
    "presort": "auto",
    "random_state": None,
    "subsample": 1,
    "verbose": 0,
    "warm_start": False,
}


@pytest.fixture(scope="module")
def rows():
    generator = np.random.default_rng(0)
    income = generator.normal(size=300)
    debt = generator.normal(size=300)
    default = (debt - income + generator.normal(size=300) > 0).astype(int)
    return pd.DataFrame({"income": income, "debt": debt, "default": default})


def fit_logistic(rows, seed=3, **params):
    params = {"x_cols": ["income", "debt"], "y_col": "default", **params}
    return fit_logistic_regression(Context(seed), LogisticRegressionParams(**params), rows)


def fit_trees(rows, seed=3, **params):
    params = {"x_cols": ["income", "debt"], "y_col": "default", **params}
    return fit_gbdt(Context(seed), GbdtParams(**params), rows)


def test_parameters_of_2018_fit_what_todays_spelling_fits(rows):
    model = fit_logistic(rows, **OLD_LOGISTIC)
    plain = LogisticRegression(solver="liblinear", random_state=3)
    plain.fit(rows[["income", "debt"]], rows["default"])
    assert np.array_equal(model.estimator.coef_, plain.coef_)
    model = fit_trees(rows, **OLD_GBDT)
    plain = GradientBoostingClassifier(n_estimators=10, max_depth=5, random_state=3)
    plain.fit(rows[["income", "debt"]], rows["default"])
    expected = plain.predict_proba(rows[["income", "debt"]])
    assert np.array_equal(model.estimator.predict_proba(rows[["income", "debt"]]), expected)


def test_no_deprecation_warning_comes_from_scikit_learn(rows):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for penalty, solver in (("l1", "liblinear"), ("l2", "lbfgs"), ("none", "lbfgs")):
            fit_logistic(rows, **{**OLD_LOGISTIC, "penalty": penalty, "solver": solver})
        for criterion in ("friedman_mse", "mse", "mae", "squared_error", "absolute_error"):
            fit_trees(rows, **{**OLD_GBDT, "criterion": criterion, "max_features": "auto"})
    assert [str(warning.message) for warning in caught] == []


def test_penalty_is_translated(rows):
    assert fit_logistic(rows, penalty="l1").estimator.l1_ratio == 1.0
    assert fit_logistic(rows, penalty="l2").estimator.l1_ratio == 0.0
    assert np.isinf(fit_logistic(rows, penalty="none", solver="lbfgs").estimator.C)
    mixed = fit_logistic(rows, penalty="elasticnet", l1_ratio=0.5, solver="saga", max_iter=1000)
    assert mixed.estimator.l1_ratio == 0.5


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"penalty": "l1", "solver": "lbfgs"}, "knows no L1"),
        ({"penalty": "elasticnet"}, "needs l1_ratio"),
        ({"l1_ratio": 0.5}, "cannot mix"),
        ({"penalty": "none"}, "cannot do without"),
        ({"dual": True, "solver": "lbfgs"}, "dual"),
        ({"x_cols": ["incme"]}, "does not have: incme"),
        ({"x_cols": ["income", "income"]}, "twice"),
        ({"x_cols": ["income", "default"]}, "tell the model the answer"),
        ({"x_cols": []}, "no column"),
        ({"y_col": "debt"}, "tell the model the answer"),
        ({"y_col": "debt", "x_cols": ["income"]}, "must have two classes"),
        ({"pre_value": 2}, "pre_value is 2"),
        ({"class_weight": {"7": 1.0}}, "pre_value is '7'"),
    ],
)
def test_what_cannot_be_fitted_is_refused_by_name(rows, params, said):
    with pytest.raises(AlgorithmError, match=said):
        fit_logistic(rows, **params)


def test_bad_values_are_refused_naming_the_columns_and_the_cure(rows):
    text = rows.assign(income="high")
    with pytest.raises(AlgorithmError, match="not numeric: income") as caught:
        fit_logistic(text)
    assert "algo_encode_categories" in caught.value.hint
    with pytest.raises(AlgorithmError, match="missing values: debt") as caught:
        fit_trees(rows.assign(debt=rows["debt"].mask(rows.index == 3)))
    assert "algo_fill_missing" in caught.value.hint
    with pytest.raises(AlgorithmError, match="infinite values: debt"):
        fit_trees(rows.assign(debt=np.inf))
    with pytest.raises(AlgorithmError, match="missing in 1 of 300 rows"):
        fit_trees(rows.assign(default=rows["default"].astype("float").mask(rows.index == 3)))
    with pytest.raises(AlgorithmError, match="no rows"):
        fit_trees(rows.head(0))


def test_a_fit_that_does_not_converge_says_so_in_the_log(rows, caplog):
    context = Context(name="fit")
    params = LogisticRegressionParams(y_col="default", max_iter=1)
    fit_logistic_regression(context, params, rows)
    assert "did not converge within 1 iterations" in caplog.text


def test_the_seed_of_the_attempt_stands_in_for_a_null_one(rows):
    assert fit_trees(rows, seed=9, random_state=None).estimator.random_state == 9
    assert fit_trees(rows, seed=9, random_state=4).estimator.random_state == 4


def test_left_out_features_are_all_but_the_target(rows):
    assert list(fit_trees(rows, x_cols=None).columns) == ["income", "debt"]


def test_input_is_not_modified(rows):
    before = rows.copy(deep=True)
    model = fit_logistic(rows)
    predict(Context(), PredictParams(), rows, model)
    pd.testing.assert_frame_equal(rows, before)


def test_text_classes_are_predicted_as_text(rows):
    named = rows.assign(default=rows["default"].map({1: "坏", 0: "好"}))
    model = fit_logistic(named, pre_value="坏", class_weight={"坏": 2.0, "好": 1.0})
    predicted = predict(Context(), PredictParams(), named, model)
    assert set(predicted["predict_result"]) == {"坏", "好"}
    high = predicted["predict_score"] > 0.5
    assert (predicted["predict_result"][high] == "坏").all()


def test_a_stop_ends_the_growing_of_trees(rows):
    class Stopped(Context):
        def cancelled(self):
            return True

    params = GbdtParams(y_col="default", n_estimators=50)
    assert fit_gbdt(Stopped(), params, rows).estimator.n_estimators_ == 1


def test_table_and_model_may_come_in_either_order(rows):
    model = fit_logistic(rows)
    one = predict(Context(), PredictParams(), rows, model)
    other = predict(Context(), PredictParams(), model, rows)
    pd.testing.assert_frame_equal(one, other)
    assert list(one.columns) == [*rows.columns, "predict_result", "predict_score"]


def test_of_two_models_the_second_predicts_the_rows_of_the_first(rows):
    held_out = rows.tail(60)

    class Keeper(Context):
        def load(self, reference):
            assert reference == "held out"
            return held_out

    first, second = fit_trees(held_out), fit_logistic(rows.head(240))
    first.fitted_on = "held out"
    predicted = predict(Keeper(), PredictParams(), first, second)
    expected = second.estimator.predict_proba(held_out[["income", "debt"]])[:, 1]
    assert np.array_equal(predicted["predict_score"], expected)


def test_inputs_that_cannot_predict_are_refused(rows):
    model = fit_logistic(rows)
    with pytest.raises(AlgorithmError, match="Two tables"):
        predict(Context(), PredictParams(), rows, rows)
    with pytest.raises(AlgorithmError, match="does not say which table"):
        predict(Context(), PredictParams(), model, model)
    with pytest.raises(AlgorithmError, match="it also needs debt"):
        predict(Context(), PredictParams(x_cols=["income"]), rows, model)
    with pytest.raises(AlgorithmError, match="does not know age"):
        predict(Context(), PredictParams(x_cols=["income", "debt", "age"]), rows, model)
    with pytest.raises(AlgorithmError, match="does not have: debt"):
        predict(Context(), PredictParams(), rows.drop(columns="debt"), model)


def test_score_is_that_of_the_positive_class(rows):
    model = fit_logistic(rows, pre_value=0)
    assert isinstance(model, FittedModel)
    predicted = predict(Context(), PredictParams(), rows, model)
    high = predicted["predict_score"] > 0.5
    assert (predicted["predict_result"][high] == 0).all()
