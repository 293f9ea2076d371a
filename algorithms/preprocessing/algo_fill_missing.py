"""Fill missing values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from algorithms.base import AlgorithmError, Context, Port, algorithm
from algorithms.columns import check_columns

if TYPE_CHECKING:
    import pandas as pd

Strategy = Literal["mean", "median", "most_frequent", "constant", "none"]
Constant = bool | int | float | str


class FillRule(BaseModel):
    """How some columns are filled, other than by the general strategy."""

    model_config = ConfigDict(extra="forbid")

    columns: list[str] = Field(min_length=1, title="Columns", json_schema_extra={"title_zh": "列"})
    strategy: Strategy = Field(title="Strategy", json_schema_extra={"title_zh": "填充方式"})
    value: Constant | None = Field(
        None,
        title="Value",
        description="For the strategy constant.",
        json_schema_extra={"title_zh": "常数值"},
    )


class FillMissingParams(BaseModel):
    """Parameters of filling."""

    model_config = ConfigDict(extra="forbid")

    numeric: Strategy = Field(
        "median", title="Numeric columns", json_schema_extra={"title_zh": "数值列填充方式"}
    )
    numeric_value: float = Field(
        0.0,
        title="Value for numeric columns",
        description="For the strategy constant.",
        json_schema_extra={"title_zh": "数值列常数"},
    )
    other: Literal["most_frequent", "constant", "none"] = Field(
        "most_frequent", title="Other columns", json_schema_extra={"title_zh": "其他列填充方式"}
    )
    other_value: str = Field(
        "missing",
        title="Value for other columns",
        description="For the strategy constant.",
        json_schema_extra={"title_zh": "其他列常数"},
    )
    rules: list[FillRule] = Field(
        [],
        title="Rules for single columns",
        description="They go before the general strategies.",
        json_schema_extra={"title_zh": "单列规则"},
    )


@algorithm(
    "algo_fill_missing",
    title="Fill missing values",
    title_zh="缺失值填充",
    family="preprocessing",
    version="1",
    inputs=[Port("rows", "table"), Port("learn_from", "table", optional=True)],
    outputs=[Port("filled", "table")],
)
def fill_missing(
    context: Context,
    params: FillMissingParams,
    rows: pd.DataFrame,
    learn_from: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Fill missing values column by column: by mean, median, most frequent value or a constant.

    Parameters
    ----------
    context : Context
        Is told in the log what was filled with what.
    params : FillMissingParams
        Strategies for numeric and other columns, and rules for single columns.
    rows : pandas.DataFrame of shape (n_rows, n_columns)
        The table to fill.
    learn_from : pandas.DataFrame of shape (m_rows, n_columns), optional
        The table from which means and the like are taken, so that a test part is filled by what
        its training part says; left unconnected, `rows` itself.

    Returns
    -------
    pandas.DataFrame of shape (n_rows, n_columns)
        The same rows and columns. A whole-number column that is filled with a fraction becomes one
        of fractions.

    Raises
    ------
    AlgorithmError
        If a rule names a column that is not there or that another rule names, a mean or median is
        asked of a column that is not numeric, a constant is missing or of another type than the
        column, or a column to be learned from has no value at all.

    Notes
    -----
    Missing values: they are what is filled; with strategy none they stay.
    Input: not modified.
    Randomness: none. Of equally frequent values the smallest is taken.
    Cost: time O(n_rows · n_columns); memory one copy of the columns that are filled.

    References
    ----------
    R. J. A. Little, D. B. Rubin, Statistical Analysis with Missing Data, 3rd ed., Wiley, 2019,
    chapter 4.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"age": [20.0, None, 40.0, 45.0]})
    >>> fill_missing(Context(), FillMissingParams(), rows)["age"].tolist()
    [20.0, 40.0, 40.0, 45.0]
    """
    source = rows if learn_from is None else learn_from
    rules = _collect_rules(params, [str(name) for name in rows.columns])
    check_columns(
        [str(name) for name in source.columns], [str(name) for name in rows.columns], "rows"
    )
    filled = rows.copy(deep=False)
    for name in rows.columns:
        n_missing = int(rows[name].isna().sum())
        if not n_missing:
            continue
        strategy, constant = rules.get(str(name)) or _choose_general(params, rows[name])
        if strategy == "none":
            continue
        value = _find_value(source[name], str(name), strategy, constant)
        filled[name] = _fill(rows[name], value)
        context.log.info("Column %s: %d missing, filled with %r.", name, n_missing, value)
    return filled


def _collect_rules(
    params: FillMissingParams, columns: list[str]
) -> dict[str, tuple[Strategy, Any]]:
    named = [name for rule in params.rules for name in rule.columns]
    check_columns(columns, named, "rules")
    return {name: (rule.strategy, rule.value) for rule in params.rules for name in rule.columns}


def _choose_general(params: FillMissingParams, column: pd.Series) -> tuple[Strategy, Any]:
    if _is_number(column):
        return params.numeric, params.numeric_value
    return params.other, params.other_value


def _is_number(column: pd.Series) -> bool:
    import pandas as pd

    return pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(
        column.dtype
    )


def _find_value(column: pd.Series, name: str, strategy: Strategy, constant: Any) -> Any:
    """Return the value that fills a column."""
    if strategy == "constant":
        _check_constant(column, name, constant)
        return constant
    if strategy in ("mean", "median") and not _is_number(column):
        raise AlgorithmError(
            f"Column {name!r} is not numeric, so it has no {strategy}.",
            "Use most_frequent or constant for it.",
        )
    present = column.dropna()
    if present.empty:
        raise AlgorithmError(
            f"Column {name!r} has no value at all, so it has no {strategy} either.",
            "Give it a rule with the strategy constant, or leave the column out.",
        )
    if strategy == "most_frequent":
        value = present.mode().iloc[0]
    else:
        value = present.mean() if strategy == "mean" else present.median()
    return value.item() if hasattr(value, "item") else value


def _check_constant(column: pd.Series, name: str, constant: Any) -> None:
    if constant is None:
        raise AlgorithmError(
            f"The rule for column {name!r} has no value.", "Strategy constant needs one."
        )
    is_number = isinstance(constant, int | float) and not isinstance(constant, bool)
    if _is_number(column) != is_number and not column.isna().all():
        raise AlgorithmError(
            f"Column {name!r} is of type {column.dtype}; the value {constant!r} does not fit.",
            "Give a number for a numeric column, a text for others.",
        )


def _fill(column: pd.Series, value: Any) -> pd.Series:
    import pandas as pd

    if column.isna().all() and isinstance(value, str):
        return pd.Series([value] * len(column), index=column.index, dtype="str")
    if isinstance(column.dtype, pd.CategoricalDtype) and value not in column.cat.categories:
        column = column.cat.add_categories([value])
    if pd.api.types.is_integer_dtype(column.dtype) and isinstance(value, float):
        column = column.astype("Float64" if not value.is_integer() else column.dtype)
        value = value if not value.is_integer() else int(value)
    return column.fillna(value)
