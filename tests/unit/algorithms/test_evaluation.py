import math

import numpy as np
import pandas as pd
import pytest

from algorithms.base import AlgorithmError, Context
from algorithms.evaluation import curves
from algorithms.evaluation.algo_local_model_2c_eval import EvaluationParams, evaluate_two_classes

TRUTH = [1, 1, 0, 1, 0, 0]
SCORE = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
GUESS = [1, 1, 1, 1, 0, 0]


def make_table(truth=TRUTH, guess=GUESS, score=SCORE):
    return pd.DataFrame({"y": truth, "predict_result": guess, "predict_score": score})


def evaluate(table, **params):
    return evaluate_two_classes(Context(), EvaluationParams(y_col="y", **params), table)


def test_figures_of_six_rows_are_those_counted_by_hand():
    # Pairs of a positive and a negative: 9. The positives at 0.9 and 0.8 beat all three negatives,
    # the one at 0.6 beats two: 8 of 9. KS: at 0.8 two of three positives, no negative.
    # Guesses: three of the four positive ones are right, both negative ones are right.
    report = evaluate(make_table())
    assert report["auc"] == pytest.approx(8 / 9)
    assert report["ks"] == pytest.approx(2 / 3)
    assert report["accuracy"] == pytest.approx(5 / 6)
    assert report["precision"] == pytest.approx(3 / 4)
    assert report["recall"] == 1.0
    assert report["f1"] == pytest.approx(6 / 7)
    expected = -sum(math.log(p) for p in (0.9, 0.8, 0.3, 0.6, 0.5, 0.6)) / 6
    assert report["log_loss"] == pytest.approx(expected)
    assert report["confusion_matrix"] == {
        "true_positive": 3,
        "false_positive": 1,
        "true_negative": 2,
        "false_negative": 0,
    }
    assert (report["rows"], report["positives"], report["positive_class"]) == (6, 3, 1)


def test_rows_of_one_score_count_half():
    report = evaluate(make_table([1, 0, 1, 0], [1, 1, 1, 1], [0.5, 0.5, 0.5, 0.5]))
    assert report["auc"] == 0.5
    assert report["ks"] == 0.0


def test_curves_of_six_rows_are_those_counted_by_hand():
    report = evaluate(make_table())
    roc = report["curves"]["roc"]
    third = pytest.approx([0, 0, 0, 1 / 3, 1 / 3, 2 / 3, 1], abs=1e-6)
    assert roc["x"]["values"] == third
    assert roc["y"][0]["values"] == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 1, 1, 1], abs=1e-6)
    lift = report["curves"]["lift"]
    assert lift["x"]["values"] == pytest.approx([k / 6 for k in range(1, 7)], abs=1e-6)
    assert lift["y"][0]["values"] == pytest.approx([2, 2, 4 / 3, 1.5, 1.2, 1], abs=1e-6)
    pr = report["curves"]["pr"]
    assert pr["y"][0]["values"] == pytest.approx([1, 1, 2 / 3, 3 / 4, 3 / 5, 1 / 2], abs=1e-6)
    gain = report["curves"]["gain"]
    assert gain["y"][0]["values"] == roc["y"][0]["values"]
    assert gain["title_zh"] == "增益图"


def test_figures_agree_with_scikit_learn_on_a_thousand_rows():
    from sklearn import metrics

    generator = np.random.default_rng(1)
    truth = generator.integers(0, 2, 1000)
    score = np.round((0.3 * truth + generator.random(1000)) / 1.3, 2)
    guess = (score > 0.5).astype(int)
    report = evaluate(make_table(truth, guess, score))
    assert report["auc"] == pytest.approx(metrics.roc_auc_score(truth, score))
    assert report["log_loss"] == pytest.approx(metrics.log_loss(truth, score))
    assert report["f1"] == pytest.approx(metrics.f1_score(truth, guess))
    x, y, _ = metrics.roc_curve(truth, score)
    assert report["ks"] == pytest.approx(np.max(y - x))


def test_curves_of_many_rows_are_thinned_and_keep_ends_and_the_largest_gap():
    generator = np.random.default_rng(2)
    truth = generator.integers(0, 2, 50_000).astype(bool)
    score = truth + generator.normal(size=50_000)
    ranking = curves.rank_scores(truth, score)
    ks = curves.make_curves(ranking)["ks"]
    x, (found, false) = ks["x"]["values"], (axis["values"] for axis in ks["y"])
    assert len(x) <= curves.MAX_POINTS + 1
    assert (x[0], x[-1], found[0], found[-1]) == (0, 1, 0, 1)
    largest = max(a - b for a, b in zip(found, false, strict=True))
    assert largest == pytest.approx(curves.compute_ks(ranking), abs=2e-6)


def test_figures_that_are_not_defined_are_null():
    report = evaluate(make_table([0, 0], [1, 0], [0.2, 0.1]))
    assert report["auc"] is None
    assert report["curves"] is None
    assert report["recall"] is None
    assert report["precision"] == 0.0
    report = evaluate(make_table([1, 0], [0, 0], [0.2, 0.1]))
    assert report["precision"] is None
    report = evaluate(make_table([1, 0], [1, 0], [2.0, -1.0]))
    assert (report["auc"], report["log_loss"]) == (1.0, None)


def test_text_of_a_class_means_the_class():
    table = make_table(["bad", "good"], ["bad", "bad"], [0.9, 0.2])
    report = evaluate(table, pre_value="bad")
    assert report["confusion_matrix"]["false_positive"] == 1
    assert evaluate(make_table([1, 0], ["1", "0"], [0.9, 0.2]), pre_value="1")["accuracy"] == 1.0


def test_metrics_are_told():
    context = Context()
    evaluate_two_classes(context, EvaluationParams(y_col="y"), make_table())
    assert context.metrics["auc"] == pytest.approx(8 / 9)
    assert set(context.metrics) == {
        "auc",
        "ks",
        "accuracy",
        "precision",
        "recall",
        "f1",
        "log_loss",
    }


@pytest.mark.parametrize(
    ("table", "params", "said"),
    [
        (make_table().drop(columns="predict_score"), {}, "score_col names columns"),
        (make_table(truth=[1, None, 0, 1, 0, 0]), {}, "y_col 'y' is missing in 1 of 6 rows"),
        (make_table(score=["a"] * 6), {}, "is not numeric"),
        (make_table(score=[math.inf] * 6), {}, "infinite"),
        (make_table(), {"pre_value": 7}, "pre_value is 7"),
        (make_table([], [], []), {}, "no rows"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_by_name(table, params, said):
    with pytest.raises(AlgorithmError, match=said):
        evaluate(table, **params)
