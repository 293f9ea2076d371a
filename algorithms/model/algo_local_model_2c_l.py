"""Logistic regression for two classes."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from algorithms.base import AlgorithmError, Context, FittedModel, Port, algorithm
from algorithms.columns import choose_features, match_class, take_features, take_target

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

ClassLabel = bool | int | float | str


class LogisticRegressionParams(BaseModel):
    """Parameters of the logistic regression; the names are those of the existing screens."""

    model_config = ConfigDict(extra="forbid")

    x_cols: list[str] | None = Field(
        None,
        title="Features",
        description="Columns to learn from; left out: all but the target.",
        json_schema_extra={"title_zh": "特征列"},
    )
    y_col: str = Field(title="Target", json_schema_extra={"title_zh": "目标列"})
    pre_value: ClassLabel = Field(
        1,
        title="Positive class",
        description="The value of the target whose probability is predicted.",
        json_schema_extra={"title_zh": "正类取值"},
    )
    C: float = Field(
        1.0,
        gt=0,
        title="Inverse regularisation strength",
        json_schema_extra={"title_zh": "正则化强度的倒数"},
    )
    l1_ratio: float | None = Field(
        None,
        ge=0,
        le=1,
        title="Share of the L1 penalty",
        description="0: L2 alone, 1: L1 alone; left out: what penalty says, else 0.",
        json_schema_extra={"title_zh": "L1 惩罚占比"},
    )
    solver: Literal["liblinear", "lbfgs", "newton-cg", "newton-cholesky", "sag", "saga"] = Field(
        "liblinear", title="Solver", json_schema_extra={"title_zh": "求解器"}
    )
    max_iter: int = Field(
        100, ge=1, title="Iterations at most", json_schema_extra={"title_zh": "最大迭代次数"}
    )
    tol: float = Field(0.0001, ge=0, title="Tolerance", json_schema_extra={"title_zh": "收敛容差"})
    class_weight: Literal["balanced"] | dict[str, float] | None = Field(
        None,
        title="Class weights",
        description="balanced, or a weight for each class.",
        json_schema_extra={"title_zh": "类别权重"},
    )
    dual: bool = Field(False, title="Dual formulation", json_schema_extra={"title_zh": "对偶形式"})
    fit_intercept: bool = Field(
        True, title="Fit the intercept", json_schema_extra={"title_zh": "拟合截距"}
    )
    intercept_scaling: float = Field(
        1.0, gt=0, title="Intercept scaling", json_schema_extra={"title_zh": "截距缩放"}
    )
    random_state: int | None = Field(
        None,
        ge=0,
        lt=2**32,
        title="Seed",
        description="Left out: the seed of the attempt.",
        json_schema_extra={"title_zh": "随机种子"},
    )
    verbose: int = Field(0, ge=0, title="Verbosity", json_schema_extra={"title_zh": "日志详细程度"})
    penalty: Literal["l1", "l2", "elasticnet", "none"] | None = Field(
        "l2",
        title="Penalty",
        json_schema_extra={
            "title_zh": "惩罚项",
            "deprecated": True,
            "note": "it is translated to l1_ratio (l2: 0, l1: 1; none: no penalty)",
        },
    )
    multi_class: Literal["ovr", "multinomial", "auto"] = Field(
        "ovr",
        title="Multi-class scheme",
        json_schema_extra={
            "title_zh": "多分类方式",
            "deprecated": True,
            "note": "it is ignored, since there are two classes",
        },
    )
    n_jobs: int | None = Field(
        None,
        title="Parallel jobs",
        json_schema_extra={
            "title_zh": "并行数",
            "deprecated": True,
            "note": "it is ignored; use run.resources.cpu",
        },
    )
    warm_start: bool = Field(
        False,
        title="Warm start",
        description="Without effect: each attempt fits a fresh model.",
        json_schema_extra={"title_zh": "热启动"},
    )
    senior: bool = Field(
        False,
        title="Advanced settings shown",
        json_schema_extra={
            "title_zh": "高级选项",
            "deprecated": True,
            "note": "it is a switch of the screen and means nothing to the algorithm",
        },
    )


@algorithm(
    "algo_local_model_2c_l",
    title="Logistic regression (two classes)",
    title_zh="逻辑回归二分类",
    family="model",
    version="1",
    inputs=[Port("rows", "table")],
    outputs=[Port("model", "model")],
)
def fit_logistic_regression(
    context: Context, params: LogisticRegressionParams, rows: pd.DataFrame
) -> FittedModel:
    """Fit a logistic regression for a target with two classes.

    Features are used as they are: columns of very different ranges converge slowly.

    Parameters
    ----------
    context : Context
        Gives the seed, and takes the log.
    params : LogisticRegressionParams
        Features, target, positive class and the settings of the solver.
    rows : pandas.DataFrame of shape (n_rows, n_columns)
        Numeric features and a target with exactly two different values.

    Returns
    -------
    FittedModel
        The fitted `sklearn.linear_model.LogisticRegression`.

    Raises
    ------
    AlgorithmError
        If a column is missing or not numeric, a value is missing or infinite, the target does not
        have two classes, or solver and penalty do not go together.

    Notes
    -----
    Missing values: refused, naming the columns.
    Input: not modified.
    Randomness: `liblinear` (dual), `sag` and `saga` shuffle with `random_state`, or the seed of the
    attempt where that is left out; the others draw nothing.
    Cost: time O(n_rows · n_features) per iteration; memory one copy of the features as float64.

    References
    ----------
    R.-E. Fan et al., LIBLINEAR: A Library for Large Linear Classification, JMLR 9, 2008,
    pp. 1871-1874. scikit-learn, User Guide, section 1.1.11, Logistic regression.

    Examples
    --------
    >>> import pandas as pd
    >>> from algorithms.base import Context
    >>> rows = pd.DataFrame({"income": [1.0, 2.0, 8.0, 9.0], "default": [1, 1, 0, 0]})
    >>> params = LogisticRegressionParams(x_cols=["income"], y_col="default")
    >>> fit_logistic_regression(Context(), params, rows).estimator.classes_.tolist()
    [0, 1]
    """
    columns = choose_features(rows, params.x_cols, params.y_col)
    features = take_features(rows, columns)
    target = take_target(rows, params.y_col)
    positive = match_class(sorted(set(target.tolist()), key=str), params.pre_value, params.y_col)
    # The seed is read only where it counts: who reads it is not taken from the cache.
    seed = context.seed if params.random_state is None else params.random_state
    estimator = _make_estimator(params, seed, target)
    _fit(context, params, estimator, features, target)
    return FittedModel(
        estimator=estimator, columns=columns, target=params.y_col, positive_class=positive
    )


def _make_estimator(params: LogisticRegressionParams, seed: int, target: Any) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    l1_ratio, inverse_strength = _translate_penalty(params)
    _check_solver(params, l1_ratio, inverse_strength)
    return LogisticRegression(
        C=inverse_strength,
        l1_ratio=l1_ratio,
        dual=params.dual,
        tol=params.tol,
        fit_intercept=params.fit_intercept,
        intercept_scaling=params.intercept_scaling,
        class_weight=_match_weights(params, target),
        random_state=seed,
        solver=params.solver,
        max_iter=params.max_iter,
        verbose=params.verbose,
    )


def _translate_penalty(params: LogisticRegressionParams) -> tuple[float, float]:
    """Return today's `l1_ratio` and `C` for what `penalty` and `l1_ratio` say."""
    if params.penalty in (None, "none"):
        return 0.0, math.inf
    if params.l1_ratio is not None:
        return params.l1_ratio, params.C
    if params.penalty == "elasticnet":
        raise AlgorithmError(
            "penalty elasticnet needs l1_ratio.", "Set l1_ratio between 0 (L2) and 1 (L1)."
        )
    return (1.0 if params.penalty == "l1" else 0.0), params.C


def _check_solver(
    params: LogisticRegressionParams, l1_ratio: float, inverse_strength: float
) -> None:
    """Raise where the solver cannot do what is asked."""
    solver = params.solver
    if l1_ratio > 0 and solver not in ("liblinear", "saga"):
        raise AlgorithmError(
            f"Solver {solver} knows no L1 penalty.", "Use solver liblinear or saga."
        )
    if 0 < l1_ratio < 1 and solver != "saga":
        raise AlgorithmError(f"Solver {solver} cannot mix L1 and L2.", "Use solver saga.")
    if math.isinf(inverse_strength) and solver == "liblinear":
        raise AlgorithmError(
            "Solver liblinear cannot do without a penalty.", "Use solver lbfgs, or a penalty."
        )
    if params.dual and (solver != "liblinear" or l1_ratio > 0):
        raise AlgorithmError(
            "The dual formulation exists for solver liblinear with the L2 penalty only.",
            "Set dual to false.",
        )


def _match_weights(params: LogisticRegressionParams, target: Any) -> Any:
    """Return the weights by the target's own values: keys of a parameter are always text."""
    if not isinstance(params.class_weight, dict):
        return params.class_weight
    classes = sorted(set(target.tolist()), key=str)
    return {
        match_class(classes, label, params.y_col): weight
        for label, weight in params.class_weight.items()
    }


def _fit(
    context: Context,
    params: LogisticRegressionParams,
    estimator: LogisticRegression,
    features: pd.DataFrame,
    target: Any,
) -> None:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Told below in words that say what to do.
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(features, target)
    n_iterations = int(estimator.n_iter_.max())
    context.metric("iterations", n_iterations)
    if n_iterations >= params.max_iter:
        context.log.warning(
            "The fit did not converge within %d iterations: raise max_iter, or bring the columns "
            "to similar ranges.",
            params.max_iter,
        )
