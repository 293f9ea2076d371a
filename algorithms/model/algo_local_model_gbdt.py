"""Gradient boosted decision trees for two classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from algorithms.base import AlgorithmError, Context, FittedModel, Port, algorithm
from algorithms.columns import choose_features, match_class, take_features, take_target

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.ensemble import GradientBoostingClassifier

ClassLabel = bool | int | float | str
Share = Annotated[float, Field(gt=0, le=1)]


class GbdtParams(BaseModel):
    """Parameters of the boosted trees; the names are those of the existing screens."""

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
    n_estimators: int = Field(
        100, ge=1, title="Number of trees", json_schema_extra={"title_zh": "树的数量"}
    )
    learning_rate: float = Field(
        0.1, ge=0, title="Learning rate", json_schema_extra={"title_zh": "学习率"}
    )
    max_depth: Annotated[int, Field(ge=1)] | None = Field(
        3, title="Depth at most", json_schema_extra={"title_zh": "最大深度"}
    )
    loss: Literal["log_loss", "exponential", "deviance"] = Field(
        "log_loss",
        title="Loss",
        description="deviance is the former name of log_loss.",
        json_schema_extra={"title_zh": "损失函数"},
    )
    subsample: float = Field(
        1.0, gt=0, le=1, title="Share of rows per tree", json_schema_extra={"title_zh": "采样比例"}
    )
    init: Literal["zero"] | None = Field(
        None, title="Initial prediction", json_schema_extra={"title_zh": "初始预测"}
    )
    max_features: Annotated[int, Field(ge=1)] | Share | Literal["auto", "sqrt", "log2"] | None = (
        Field(
            None,
            title="Features per split",
            description="A number, a share, sqrt or log2; auto is the former name of sqrt.",
            json_schema_extra={"title_zh": "每次分裂的特征数"},
        )
    )
    max_leaf_nodes: Annotated[int, Field(ge=2)] | None = Field(
        None, title="Leaves at most", json_schema_extra={"title_zh": "最大叶节点数"}
    )
    min_samples_split: Annotated[int, Field(ge=2)] | Annotated[float, Field(gt=0, lt=1)] = Field(
        2, title="Rows to split a node", json_schema_extra={"title_zh": "分裂所需最小样本数"}
    )
    min_samples_leaf: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] = Field(
        1, title="Rows in a leaf", json_schema_extra={"title_zh": "叶节点最小样本数"}
    )
    min_weight_fraction_leaf: float = Field(
        0.0,
        ge=0,
        le=0.5,
        title="Weight in a leaf",
        json_schema_extra={"title_zh": "叶节点最小权重占比"},
    )
    min_impurity_decrease: float = Field(
        0.0, ge=0, title="Impurity decrease", json_schema_extra={"title_zh": "最小不纯度减少量"}
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
    criterion: Literal["friedman_mse", "squared_error", "mse", "absolute_error", "mae"] = Field(
        "friedman_mse",
        title="Split criterion",
        json_schema_extra={
            "title_zh": "分裂准则",
            "deprecated": True,
            "note": "it is ignored: the trees always split by the squared error",
        },
    )
    min_impurity_split: float | None = Field(
        None,
        title="Impurity to split",
        json_schema_extra={
            "title_zh": "最小分裂不纯度",
            "deprecated": True,
            "note": "it is ignored; use min_impurity_decrease",
        },
    )
    presort: Literal["auto"] | bool = Field(
        "auto",
        title="Sort beforehand",
        json_schema_extra={
            "title_zh": "预排序",
            "deprecated": True,
            "note": "it is ignored; it never changed the result",
        },
    )
    warm_start: bool = Field(
        False,
        title="Warm start",
        description="Without effect: each attempt fits a fresh model.",
        json_schema_extra={"title_zh": "热启动"},
    )
    n_jobs: int | None = Field(
        None,
        title="Parallel jobs",
        json_schema_extra={
            "title_zh": "并行数",
            "deprecated": True,
            "note": "it is ignored: one tree is grown after the other",
        },
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
    "algo_local_model_gbdt",
    title="Gradient boosted trees (two classes)",
    title_zh="GBDT 二分类",
    family="model",
    version="1",
    inputs=[Port("rows", "table")],
    outputs=[Port("model", "model")],
)
def fit_gbdt(context: Context, params: GbdtParams, rows: pd.DataFrame) -> FittedModel:
    """Fit gradient boosted decision trees for a target with two classes.

    Parameters
    ----------
    context : Context
        Gives the seed; is told of each tree, and asked whether to stop.
    params : GbdtParams
        Features, target, positive class and the settings of the trees.
    rows : pandas.DataFrame of shape (n_rows, n_columns)
        Numeric features and a target with exactly two different values.

    Returns
    -------
    FittedModel
        The fitted `sklearn.ensemble.GradientBoostingClassifier`; where a stop was asked for, with
        the trees grown until then (the attempt then ends as cancelled).

    Raises
    ------
    AlgorithmError
        If a column is missing or not numeric, a value is missing or infinite, the target does not
        have two classes, or max_features is more than there are.

    Notes
    -----
    Missing values: refused, naming the columns.
    Input: not modified.
    Randomness: rows (`subsample` < 1), features (`max_features`) and the order in which equally
    good splits are tried are drawn from `random_state`, or from the seed of the attempt where that
    is left out.
    Cost: time O(n_estimators · n_features · n_rows · log n_rows); memory one copy of the features
    as float32 and one as float64.

    References
    ----------
    J. H. Friedman, Greedy Function Approximation: A Gradient Boosting Machine, Annals of
    Statistics 29(5), 2001, pp. 1189-1232. scikit-learn, User Guide, section 1.11.1.2, GBDT.

    Examples
    --------
    >>> import pandas as pd
    >>> from algorithms.base import Context
    >>> rows = pd.DataFrame({"income": [1.0, 2.0, 8.0, 9.0], "default": [1, 1, 0, 0]})
    >>> params = GbdtParams(x_cols=["income"], y_col="default", n_estimators=3)
    >>> fit_gbdt(Context(), params, rows).estimator.predict(rows[["income"]]).tolist()
    [1, 1, 0, 0]
    """
    columns = choose_features(rows, params.x_cols, params.y_col)
    features = take_features(rows, columns)
    target = take_target(rows, params.y_col)
    positive = match_class(sorted(set(target.tolist()), key=str), params.pre_value, params.y_col)
    if isinstance(params.max_features, int) and params.max_features > len(columns):
        raise AlgorithmError(
            f"max_features is {params.max_features}, but there are {len(columns)} features."
        )
    # The seed is read only where it counts: who reads it is not taken from the cache.
    seed = context.seed if params.random_state is None else params.random_state
    estimator = _make_estimator(params, seed)
    estimator.fit(features, target, monitor=_make_monitor(context, params.n_estimators))
    return FittedModel(
        estimator=estimator, columns=columns, target=params.y_col, positive_class=positive
    )


def _make_estimator(params: GbdtParams, seed: int) -> GradientBoostingClassifier:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(
        loss="log_loss" if params.loss == "deviance" else params.loss,
        learning_rate=params.learning_rate,
        n_estimators=params.n_estimators,
        subsample=params.subsample,
        min_samples_split=params.min_samples_split,
        min_samples_leaf=params.min_samples_leaf,
        min_weight_fraction_leaf=params.min_weight_fraction_leaf,
        max_depth=params.max_depth,
        min_impurity_decrease=params.min_impurity_decrease,
        init=params.init,
        random_state=seed,
        max_features="sqrt" if params.max_features == "auto" else params.max_features,
        verbose=params.verbose,
        max_leaf_nodes=params.max_leaf_nodes,
    )


def _make_monitor(context: Context, n_trees: int) -> Any:
    """Return what scikit-learn calls after each tree; true from it ends the fit."""

    def monitor(index: int, _estimator: Any, _locals: Any) -> bool:
        context.progress(index + 1, n_trees, f"{index + 1} of {n_trees} trees")
        return context.cancelled()

    return monitor
