"""Columns of a table as the algorithms check and choose them, with errors that name the cure."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from algorithms.base import AlgorithmError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MAX_NAMES_SHOWN = 10


def join_names(names: Iterable[Any]) -> str:
    """Return the first names as text, and how many more there are.

    Examples
    --------
    >>> join_names(["a", "b"])
    'a, b'
    """
    listed = [str(name) for name in names]
    shown = ", ".join(listed[:MAX_NAMES_SHOWN])
    more = len(listed) - MAX_NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def check_columns(known: Sequence[str], wanted: Sequence[str], what: str) -> None:
    """Raise unless the table has all of these columns.

    Parameters
    ----------
    known : sequence of str
        The table's columns.
    wanted : sequence of str
        Those that must be among them, each once.
    what : str
        The parameter that names them, for the message.

    Raises
    ------
    AlgorithmError
        Naming what is missing with the nearest name that there is, or what is named twice.

    Examples
    --------
    >>> check_columns(["AGE", "SEX"], ["AGE"], "x_cols")
    """
    present = set(known)
    missing = [name for name in wanted if name not in present]
    if missing:
        near = difflib.get_close_matches(missing[0], list(known), n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise AlgorithmError(
            f"{what} names columns that the table does not have: {join_names(missing)}.",
            f"{hint}The table has: {join_names(known)}.",
        )
    twice = sorted({name for name in wanted if list(wanted).count(name) > 1})
    if twice:
        raise AlgorithmError(f"{what} names columns twice: {join_names(twice)}.")


def choose_features(df: pd.DataFrame, x_cols: Sequence[str] | None, y_col: str) -> list[str]:
    """Return the feature columns: those named, or all but the target where none are named.

    Raises
    ------
    AlgorithmError
        If a column is not there, if none is left, or if the target is among the features.
    """
    columns = [str(name) for name in df.columns]
    check_columns(columns, [y_col], "y_col")
    if x_cols is None:
        x_cols = [name for name in columns if name != y_col]
    check_columns(columns, x_cols, "x_cols")
    if not x_cols:
        raise AlgorithmError("x_cols names no column.", "Name at least one feature.")
    if y_col in x_cols:
        raise AlgorithmError(
            f"x_cols names the target {y_col!r}, which would tell the model the answer.",
            "Take it out of x_cols.",
        )
    return list(x_cols)


def take_features(df: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the features as numbers, in a table of their own.

    Raises
    ------
    AlgorithmError
        If the table is empty, a column is not numeric, or a value is missing or infinite.
    """
    import numpy as np
    import pandas as pd

    if df.empty:
        raise AlgorithmError("The table has no rows.")
    features = df[list(columns)]
    not_numeric = [
        name
        for name, dtype in zip(columns, features.dtypes, strict=True)
        if not pd.api.types.is_numeric_dtype(dtype)
    ]
    if not_numeric:
        raise AlgorithmError(
            f"These features are not numeric: {join_names(not_numeric)}.",
            "Encode them with algo_encode_categories, or leave them out of x_cols.",
        )
    with contextlib.suppress(ValueError):  # a missing value of a type that has its own
        numbers = features.astype("float64")
        with np.errstate(all="ignore"):
            # One look for all: a sum is finite only where nothing in it is missing or infinite.
            is_complete = bool(np.isfinite(numbers.sum(skipna=False)).all())
        if is_complete:
            return numbers
    return _check_each(features, columns)


def _check_each(features: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the features as numbers after looking at each column by itself."""
    import numpy as np

    incomplete = [name for name in columns if features[name].isna().any()]
    if incomplete:
        raise AlgorithmError(
            f"These features have missing values: {join_names(incomplete)}.",
            "Fill them with algo_fill_missing.",
        )
    numbers = features.astype("float64")
    infinite = [name for name in columns if not np.isfinite(numbers[name].to_numpy()).all()]
    if infinite:
        raise AlgorithmError(f"These features have infinite values: {join_names(infinite)}.")
    return numbers


def take_target(df: pd.DataFrame, y_col: str) -> np.ndarray:
    """Return the target of a two-class model as an array of its values.

    Raises
    ------
    AlgorithmError
        If a value is missing, or there are not exactly two different ones.
    """
    target = df[y_col]
    if target.isna().any():
        raise AlgorithmError(
            f"The target {y_col!r} is missing in {int(target.isna().sum())} of {len(target)} rows.",
            "Remove these rows, or fill them with algo_fill_missing.",
        )
    values = list(target.unique())
    if len(values) != 2:
        raise AlgorithmError(
            f"The target {y_col!r} must have two classes; it has {len(values)}: "
            f"{join_names(values)}.",
            "Choose another y_col, or a larger part of the data.",
        )
    return to_labels(target)


def to_labels(column: pd.Series) -> np.ndarray:
    """Return a column as an array of plain labels: numbers as numbers, all else as objects."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(column.dtype):
        return column.to_numpy(dtype=bool)
    if pd.api.types.is_integer_dtype(column.dtype):
        return column.to_numpy(dtype="int64")
    if pd.api.types.is_float_dtype(column.dtype):
        return column.to_numpy(dtype="float64")
    return column.astype(object).to_numpy()


def match_class(values: Iterable[Any], wanted: Any, y_col: str) -> Any:
    """Return the value among these that a parameter means: an equal one, else one of equal text.

    Raises
    ------
    AlgorithmError
        If there is none.

    Examples
    --------
    >>> match_class([0, 1], "1", "y")
    1
    """
    listed = [value.item() if hasattr(value, "item") else value for value in values]
    for value in listed:
        if value == wanted:
            return value
    for value in listed:
        if str(value) == str(wanted):
            return value
    raise AlgorithmError(
        f"pre_value is {wanted!r}, but the target {y_col!r} has only: {join_names(listed)}.",
        "Set pre_value to the class whose probability is wanted.",
    )
