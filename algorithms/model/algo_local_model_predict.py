"""Predict classes and scores with a fitted model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from algorithms.base import AlgorithmError, Context, FittedModel, Port, algorithm
from algorithms.columns import check_columns, join_names, take_features

if TYPE_CHECKING:
    import pandas as pd

RESULT_COLUMN = "predict_result"
SCORE_COLUMN = "predict_score"


class PredictParams(BaseModel):
    """Parameters of the prediction."""

    model_config = ConfigDict(extra="forbid")

    x_cols: list[str] | None = Field(
        None,
        title="Features",
        description="Columns that the model reads; left out: those that it was fitted on.",
        json_schema_extra={"title_zh": "特征列"},
    )


@algorithm(
    "algo_local_model_predict",
    title="Predict with a model",
    title_zh="模型预测",
    family="model",
    version="1",
    inputs=[Port("first", "table|model"), Port("second", "table|model")],
    outputs=[Port("predicted", "table")],
)
def predict(
    context: Context,
    params: PredictParams,
    first: pd.DataFrame | FittedModel,
    second: pd.DataFrame | FittedModel,
) -> pd.DataFrame:
    """Predict the class and the probability of the positive class for every row of a table.

    One input is the model and the other the table, in either order. Where both are models, the
    second predicts, for the rows of the table on which the first was fitted.

    Parameters
    ----------
    context : Context
        Opens the table on which the first model was fitted.
    params : PredictParams
        The features, if they are to be checked against the model's.
    first, second : pandas.DataFrame of shape (n_rows, n_columns), or FittedModel
        A table and a model, a model and a table, or two models.

    Returns
    -------
    pandas.DataFrame of shape (n_rows, n_columns + 2)
        The table with the columns `predict_result` (class) and `predict_score` (probability of the
        model's positive class, from 0 to 1); columns of these names are replaced.

    Raises
    ------
    AlgorithmError
        If there is no model among the inputs, the features are not those of the model, a column is
        missing or not numeric, or a value is missing or infinite.

    Notes
    -----
    Missing values: refused, naming the columns.
    Input: not modified.
    Randomness: none.
    Cost: time and memory O(n_rows · n_features), for trees times their number and depth.

    References
    ----------
    scikit-learn, Glossary, predict_proba.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.linear_model import LogisticRegression
    >>> rows = pd.DataFrame({"x": [0.0, 1.0], "y": [0, 1]})
    >>> model = FittedModel(LogisticRegression().fit(rows[["x"]], rows["y"]), ["x"], "y", 1)
    >>> predict(Context(), PredictParams(), rows, model)["predict_result"].tolist()
    [0, 1]
    """
    model, rows = _sort_inputs(context, first, second)
    columns = _choose_columns(params.x_cols, model)
    check_columns([str(name) for name in rows.columns], columns, "x_cols")
    if rows.empty:
        raise AlgorithmError("The table to predict has no rows.")
    features = take_features(rows, columns)
    scores = model.estimator.predict_proba(features)
    classes = list(model.estimator.classes_)
    predicted = rows.copy(deep=False)
    predicted[RESULT_COLUMN] = model.estimator.predict(features)
    predicted[SCORE_COLUMN] = scores[:, classes.index(model.positive_class)]
    return predicted


def _sort_inputs(context: Context, first: Any, second: Any) -> tuple[FittedModel, pd.DataFrame]:
    """Return the model that predicts and the rows that it predicts."""
    if isinstance(second, FittedModel):
        if not isinstance(first, FittedModel):
            return second, first
        if first.fitted_on is None:
            raise AlgorithmError(
                "The first model does not say which table it was fitted on.",
                "Connect a table and a model.",
            )
        context.log.info("Predicting the rows on which the first model was fitted.")
        return second, context.load(first.fitted_on)
    if isinstance(first, FittedModel):
        return first, second
    raise AlgorithmError("Two tables came; one of the inputs must be a model.")


def _choose_columns(x_cols: list[str] | None, model: FittedModel) -> list[str]:
    """Return the model's columns in its own order, after checking those that are asked for."""
    fitted = list(model.columns)
    if x_cols is None or set(x_cols) == set(fitted):
        return fitted
    lacking = [name for name in fitted if name not in x_cols]
    foreign = [name for name in x_cols if name not in fitted]
    raise AlgorithmError(
        "x_cols are not the features of the model"
        + (f"; it also needs {join_names(lacking)}" if lacking else "")
        + (f"; it does not know {join_names(foreign)}" if foreign else "")
        + ".",
        "Leave x_cols out, or name the columns that the model was fitted on.",
    )
