"""Turn text columns into numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from algorithms.base import AlgorithmError, Context, Port, algorithm
from algorithms.columns import check_columns, join_names

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MISSING = "missing"
NO_CATEGORY = -1


class EncodeCategoriesParams(BaseModel):
    """Parameters of the encoding."""

    model_config = ConfigDict(extra="forbid")

    method: Literal["one_hot", "ordinal"] = Field(
        "one_hot",
        title="Method",
        description="one_hot: a column of 0 and 1 per category; ordinal: the category's number.",
        json_schema_extra={"title_zh": "编码方式"},
    )
    columns: list[str] | None = Field(
        None,
        title="Columns",
        description="Left out: all columns that are not numeric.",
        json_schema_extra={"title_zh": "列"},
    )
    exclude: list[str] = Field(
        [],
        title="Columns left as they are",
        description="Such as the target.",
        json_schema_extra={"title_zh": "不编码的列"},
    )
    missing: Literal["category", "none", "error"] = Field(
        "category",
        title="Missing values",
        description="category: a category of their own; none: like an unknown one; error: refused.",
        json_schema_extra={"title_zh": "缺失值处理"},
    )
    unknown: Literal["none", "error"] = Field(
        "error",
        title="Unknown categories",
        description="Of what learn_from does not have. none: all zero, or -1; error: refused.",
        json_schema_extra={"title_zh": "未知类别处理"},
    )
    drop_first: bool = Field(
        False,
        title="Drop the first category",
        description="Of one_hot, where the columns would else add up to one.",
        json_schema_extra={"title_zh": "去掉首个类别"},
    )
    max_categories: int = Field(
        100,
        ge=1,
        le=10_000,
        title="Categories at most",
        description="A column with more is refused: it is likely an identifier.",
        json_schema_extra={"title_zh": "最大类别数"},
    )


@algorithm(
    "algo_encode_categories",
    title="Encode categories",
    title_zh="类别编码",
    family="preprocessing",
    version="1",
    inputs=[Port("rows", "table"), Port("learn_from", "table", optional=True)],
    outputs=[Port("encoded", "table")],
)
def encode_categories(
    context: Context,
    params: EncodeCategoriesParams,
    rows: pd.DataFrame,
    learn_from: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Encode categorical columns as numbers, one-hot or by the number of the category.

    Categories are sorted by their text, so that equal tables are encoded equally.

    Parameters
    ----------
    context : Context
        Is told in the log how many categories each column has.
    params : EncodeCategoriesParams
        Method, columns, and what to do with missing values and unknown categories.
    rows : pandas.DataFrame of shape (n_rows, n_columns)
        The table to encode.
    learn_from : pandas.DataFrame of shape (m_rows, k_columns), optional
        The table whose categories are used, so that a test part gets the columns of its training
        part; left unconnected, `rows` itself.

    Returns
    -------
    pandas.DataFrame of shape (n_rows, m_columns)
        With one_hot, columns named `column=category` of 0 and 1 stand where the column stood; with
        ordinal, the column holds whole numbers from 0. No category: all 0, or -1.

    Raises
    ------
    AlgorithmError
        If a column is not there, has no or too many categories, has a missing value or an unknown
        category where these are refused, or a new column's name is taken.

    Notes
    -----
    Missing values: by default a category of their own, named `missing`.
    Input: not modified.
    Randomness: none.
    Cost: time O(n_rows · n_columns); memory of one_hot one byte for each row and category.

    References
    ----------
    T. Hastie, R. Tibshirani, J. Friedman, The Elements of Statistical Learning, 2nd ed., Springer,
    2009, section 2.2 (dummy variables).

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"housing": ["own", "rent", "own"]})
    >>> encode_categories(Context(), EncodeCategoriesParams(), rows).to_dict("list")
    {'housing=own': [1, 0, 1], 'housing=rent': [0, 1, 0]}
    """
    import pandas as pd

    source = rows if learn_from is None else learn_from
    chosen = _choose_columns(params, rows)
    check_columns([str(name) for name in source.columns], chosen, "columns")
    parts: dict[str, Any] = {}
    for name in rows.columns:
        if name not in chosen:
            encoded: dict[str, Any] = {str(name): rows[name]}
        else:
            categories = _learn_categories(params, source[name], name)
            context.log.info("Column %s: %d categories.", name, len(categories))
            numbers = _number_rows(params, rows[name], name, categories)
            encoded = _make_columns(params, name, categories, numbers)
        taken = [new for new in encoded if new in parts or (new != name and new in rows.columns)]
        if taken:
            raise AlgorithmError(f"The table already has a column {taken[0]!r}.", "Rename it.")
        parts.update(encoded)
    return pd.DataFrame(parts, index=rows.index)


def _choose_columns(params: EncodeCategoriesParams, rows: pd.DataFrame) -> list[str]:
    import pandas as pd

    names = [str(name) for name in rows.columns]
    check_columns(names, params.exclude, "exclude")
    if params.columns is not None:
        check_columns(names, params.columns, "columns")
        return [name for name in params.columns if name not in params.exclude]
    return [
        name
        for name in names
        if name not in params.exclude and not pd.api.types.is_numeric_dtype(rows[name].dtype)
    ]


def _learn_categories(params: EncodeCategoriesParams, column: pd.Series, name: str) -> list[str]:
    """Return the texts of the categories in their order."""
    categories = sorted(set(_to_texts(params, column)) - {None})
    if not categories:
        raise AlgorithmError(f"Column {name!r} has no category at all.", "Leave it out.")
    if len(categories) > params.max_categories:
        raise AlgorithmError(
            f"Column {name!r} has {len(categories)} categories; {params.max_categories} are "
            "allowed.",
            "Leave it out (exclude), or raise max_categories.",
        )
    return categories


def _to_texts(params: EncodeCategoriesParams, column: pd.Series) -> list[Any]:
    """Return every value's text; None where a missing value is no category."""
    absent = MISSING if params.missing == "category" else None
    return [
        absent if is_missing else str(value)
        for value, is_missing in zip(column.tolist(), column.isna().tolist(), strict=True)
    ]


def _number_rows(
    params: EncodeCategoriesParams, column: pd.Series, name: str, categories: list[str]
) -> np.ndarray:
    """Return the number of every row's category; -1 where it has none."""
    import numpy as np

    texts = _to_texts(params, column)
    if params.missing == "error" and None in texts:
        raise AlgorithmError(
            f"Column {name!r} has missing values.", "Fill them with algo_fill_missing."
        )
    numbers = {category: number for number, category in enumerate(categories)}
    unknown = sorted(set(texts) - set(numbers) - {None})
    if unknown and params.unknown == "error":
        raise AlgorithmError(
            f"Column {name!r} has categories that learn_from does not have: {join_names(unknown)}.",
            "Set unknown to none, or learn from a table that has them.",
        )
    return np.array([numbers.get(text, NO_CATEGORY) for text in texts], dtype="int64")


def _make_columns(
    params: EncodeCategoriesParams, name: str, categories: list[str], numbers: np.ndarray
) -> dict[str, Any]:
    if params.method == "ordinal":
        return {name: numbers}
    return {
        f"{name}={category}": (numbers == number).astype("int8")
        for number, category in enumerate(categories)
        if number > 0 or not params.drop_first
    }
