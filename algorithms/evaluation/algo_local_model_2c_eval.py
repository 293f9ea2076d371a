"""Evaluate a two-class prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from algorithms.base import AlgorithmError, Context, Port, algorithm
from algorithms.columns import check_columns, match_class, to_labels

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FIGURES = ("auc", "ks", "accuracy", "precision", "recall", "f1", "log_loss")


class EvaluationParams(BaseModel):
    """Parameters of the evaluation; the names are those of the existing screens."""

    model_config = ConfigDict(extra="forbid")

    y_col: str = Field(title="True class", json_schema_extra={"title_zh": "真实值列"})
    pre_col: str = Field(
        "predict_result", title="Predicted class", json_schema_extra={"title_zh": "预测值列"}
    )
    pre_value: bool | int | float | str = Field(
        1, title="Positive class", json_schema_extra={"title_zh": "正类取值"}
    )
    score_col: str = Field(
        "predict_score",
        title="Predicted score",
        description="Probability of the positive class, or any number that grows with it.",
        json_schema_extra={"title_zh": "预测概率列"},
    )


@algorithm(
    "algo_local_model_2c_eval",
    title="Evaluate a two-class model",
    title_zh="二分类评估",
    family="evaluation",
    version="1",
    inputs=[Port("predicted", "table")],
    outputs=[Port("report", "report")],
)
def evaluate_two_classes(
    context: Context, params: EvaluationParams, predicted: pd.DataFrame
) -> dict[str, Any]:
    """Compare predicted classes and scores with the true classes.

    The confusion figures come from the predicted class; AUC, KS, log loss and all curves from the
    score.

    Parameters
    ----------
    context : Context
        Is told the figures as metrics.
    params : EvaluationParams
        Columns and positive class.
    predicted : pandas.DataFrame of shape (n_rows, n_columns)
        True class, predicted class and score of every row.

    Returns
    -------
    dict
        `auc`, `ks`, `accuracy`, `precision`, `recall`, `f1` (each from 0 to 1) and `log_loss` (from
        0, in nats); `rows`, `positives`, `positive_class`; `confusion_matrix` with
        `true_positive`, `false_positive`, `true_negative`, `false_negative`; and `curves` with
        `roc`, `pr`, `ks`, `lift` and `gain`, each of about 200 points at most: `title`, `title_zh`,
        `x` and a list `y` of `{"title", "title_zh", "values"}`. A figure that is not defined is
        null: those from the score and all curves where the rows are of one class, precision where
        none is predicted positive, recall where none is, log loss where a score is no probability.

    Raises
    ------
    AlgorithmError
        If a column is missing, a value is missing, the score is not numeric, or the positive class
        occurs neither among the true nor among the predicted classes.

    Notes
    -----
    Missing values: refused, naming the column.
    Input: not modified.
    Randomness: none.
    Cost: time O(n_rows · log n_rows); memory O(n_rows).

    References
    ----------
    T. Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27(8), 2006,
    pp. 861-874.

    Examples
    --------
    >>> import pandas as pd
    >>> predicted = pd.DataFrame({"y": [1, 1, 0, 0], "predict_result": [1, 0, 0, 0]})
    >>> predicted["predict_score"] = [0.9, 0.4, 0.6, 0.1]
    >>> report = evaluate_two_classes(Context(), EvaluationParams(y_col="y"), predicted)
    >>> report["auc"], report["accuracy"], report["precision"], report["recall"]
    (0.75, 0.75, 1.0, 0.5)
    """
    _check_table(params, predicted)
    truth = to_labels(predicted[params.y_col])
    guess = to_labels(predicted[params.pre_col])
    positive = match_class(
        [*_list_classes(truth), *_list_classes(guess)], params.pre_value, "y_col"
    )
    is_positive = _means(truth, positive)
    report = {
        **_score_figures(is_positive, _take_score(params, predicted)),
        **_confusion_figures(is_positive, _means(guess, positive)),
        "rows": len(predicted),
        "positives": int(is_positive.sum()),
        "positive_class": positive,
    }
    for name in FIGURES:
        if report[name] is not None:
            context.metric(name, report[name])
    return report


def _check_table(params: EvaluationParams, predicted: pd.DataFrame) -> None:
    columns = [str(name) for name in predicted.columns]
    for parameter in ("y_col", "pre_col", "score_col"):
        name = getattr(params, parameter)
        check_columns(columns, [name], parameter)
        n_missing = int(predicted[name].isna().sum())
        if n_missing:
            raise AlgorithmError(
                f"{parameter} {name!r} is missing in {n_missing} of {len(predicted)} rows.",
                "Remove these rows before the evaluation.",
            )
    if predicted.empty:
        raise AlgorithmError("The table to evaluate has no rows.")


def _list_classes(labels: np.ndarray) -> list[Any]:
    return sorted(set(labels.tolist()), key=str)


def _means(labels: np.ndarray, positive: Any) -> np.ndarray:
    """Tell which labels mean the positive class; text and numbers of one spelling are equal."""
    import pandas as pd

    column = pd.Series(labels)
    meant = [value for value in column.unique() if value == positive or str(value) == str(positive)]
    is_meant: np.ndarray = column.isin(meant).to_numpy(dtype=bool)
    return is_meant


def _take_score(params: EvaluationParams, predicted: pd.DataFrame) -> np.ndarray:
    import numpy as np
    import pandas as pd

    column = predicted[params.score_col]
    if not pd.api.types.is_numeric_dtype(column.dtype):
        raise AlgorithmError(
            f"score_col {params.score_col!r} is not numeric.", "Choose the column of the scores."
        )
    score = column.to_numpy(dtype="float64")
    if not np.isfinite(score).all():
        raise AlgorithmError(f"score_col {params.score_col!r} has infinite values.")
    return score


def _score_figures(is_positive: np.ndarray, score: np.ndarray) -> dict[str, Any]:
    from algorithms.evaluation.curves import (
        compute_auc,
        compute_ks,
        compute_log_loss,
        make_curves,
        rank_scores,
    )

    is_probability = bool((score >= 0).all() and (score <= 1).all())
    ranking = rank_scores(is_positive, score)
    if not ranking.n_positives or not ranking.n_negatives:
        return {"auc": None, "ks": None, "log_loss": None, "curves": None}
    return {
        "auc": compute_auc(ranking),
        "ks": compute_ks(ranking),
        "log_loss": compute_log_loss(is_positive, score) if is_probability else None,
        "curves": make_curves(ranking),
    }


def _confusion_figures(is_positive: np.ndarray, is_guessed: np.ndarray) -> dict[str, Any]:
    true_positive = int((is_positive & is_guessed).sum())
    false_positive = int((~is_positive & is_guessed).sum())
    false_negative = int((is_positive & ~is_guessed).sum())
    true_negative = len(is_positive) - true_positive - false_positive - false_negative
    return {
        "accuracy": _divide(true_positive + true_negative, len(is_positive)),
        "precision": _divide(true_positive, true_positive + false_positive),
        "recall": _divide(true_positive, true_positive + false_negative),
        "f1": _divide(2 * true_positive, 2 * true_positive + false_positive + false_negative),
        "confusion_matrix": {
            "true_positive": true_positive,
            "false_positive": false_positive,
            "true_negative": true_negative,
            "false_negative": false_negative,
        },
    }


def _divide(part: int, whole: int) -> float | None:
    return part / whole if whole else None
