"""Split a table in two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from algorithms.base import AlgorithmError, Context, Port, algorithm
from algorithms.columns import check_columns

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

RANDOM, STRATIFIED, IN_ORDER = 1, 2, 3
MAX_SEED = 2**63 - 1


class SplitDataParams(BaseModel):
    """Parameters of the split; the names are those of the existing screens."""

    model_config = ConfigDict(extra="forbid")

    split_type: Literal[1, 2, 3] = Field(
        1,
        title="Kind of split",
        description="1: random, 2: stratified by a column, 3: in row order.",
        json_schema_extra={"title_zh": "拆分方式"},
    )
    ext1: float = Field(
        0.8,
        gt=0,
        lt=1,
        title="Share of the first part",
        json_schema_extra={"title_zh": "第一部分占比"},
    )
    ext2: str | int | None = Field(
        None,
        title="Seed or column",
        description="The seed of a random split (left out: that of the attempt), or the column of "
        "a stratified one.",
        json_schema_extra={"title_zh": "随机种子或分层列"},
    )

    @model_validator(mode="after")
    def check_ext2(self) -> Self:
        """Raise unless the extra value is what the kind of split needs."""
        if self.split_type == STRATIFIED and not isinstance(self.ext2, str):
            raise ValueError("split_type 2 needs the name of a column in ext2")
        if self.split_type == RANDOM and self.ext2 is not None:
            if not isinstance(self.ext2, int):
                raise ValueError("split_type 1 takes a seed (a whole number) or null in ext2")
            if not 0 <= self.ext2 <= MAX_SEED:
                raise ValueError(f"the seed in ext2 must lie between 0 and {MAX_SEED}")
        return self


@algorithm(
    "algo_local_split_data",
    title="Split data",
    title_zh="拆分数据",
    family="preprocessing",
    version="1",
    inputs=[Port("rows", "table")],
    outputs=[Port("first", "table"), Port("second", "table")],
)
def split_data(
    context: Context, params: SplitDataParams, rows: pa.Table
) -> tuple[pa.Table, pa.Table]:
    """Split a table in two parts that together have every row once.

    Both parts keep the order of the rows.

    Parameters
    ----------
    context : Context
        Gives the seed.
    params : SplitDataParams
        Kind of split, share of the first part (above 0, below 1), seed or column.
    rows : pyarrow.Table of shape (n_rows, n_columns)
        The table.

    Returns
    -------
    tuple of two pyarrow.Table
        The first has `n_rows · ext1` rows, rounded to the nearest (a half to the even one); in a
        stratified split each class has its share, with at most one row more or less.

    Raises
    ------
    AlgorithmError
        If a part would be empty, or the column is not there.

    Notes
    -----
    Missing values: kept; in the stratified column they are a class of their own.
    Input: not modified.
    Randomness: rows are drawn by the seed `ext2`, or by that of the attempt where it is null or
    names a column; a split in order draws nothing.
    Cost: time O(n_rows · n_columns), for a stratified split also O(n_rows · log n_rows); memory one
    copy of the table, in row order none.

    References
    ----------
    M. E. O'Neill, PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for
    Random Number Generation, 2014 (numpy's default generator).

    Examples
    --------
    >>> import pyarrow as pa
    >>> rows = pa.table({"x": [1, 2, 3, 4, 5]})
    >>> first, second = split_data(Context(), SplitDataParams(split_type=3, ext1=0.6), rows)
    >>> first["x"].to_pylist(), second["x"].to_pylist()
    ([1, 2, 3], [4, 5])
    """
    n_rows = rows.num_rows
    n_first = round(n_rows * params.ext1)
    if not 0 < n_first < n_rows:
        raise AlgorithmError(
            f"A share of {params.ext1} of {n_rows} rows leaves one part empty.",
            "Choose another ext1, or a larger table.",
        )
    context.log.info("Splitting %d rows into %d and %d.", n_rows, n_first, n_rows - n_first)
    if params.split_type == IN_ORDER:
        return rows.slice(0, n_first), rows.slice(n_first)
    chosen = _choose_rows(context, params, rows, n_first)
    return rows.filter(chosen), rows.filter(~chosen)


def _choose_rows(
    context: Context, params: SplitDataParams, rows: pa.Table, n_first: int
) -> np.ndarray:
    """Return a mask of the rows that go into the first part."""
    import numpy as np

    seed = params.ext2 if isinstance(params.ext2, int) else context.seed
    generator = np.random.default_rng(seed)
    chosen = np.zeros(rows.num_rows, dtype=bool)
    if params.split_type == RANDOM:
        chosen[generator.permutation(rows.num_rows)[:n_first]] = True
        return chosen
    column = str(params.ext2)
    check_columns(rows.column_names, [column], "ext2")
    strata = _number_strata(rows[column])
    sizes = np.bincount(strata)
    for stratum, quota in enumerate(_share_out(sizes, n_first)):
        members = np.flatnonzero(strata == stratum)
        chosen[generator.permutation(members)[:quota]] = True
    return chosen


def _number_strata(column: pa.ChunkedArray) -> np.ndarray:
    """Return the number of each row's class, in the order of their first appearance."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    strata: np.ndarray = encoded.indices.to_numpy(zero_copy_only=False)
    return strata


def _share_out(sizes: np.ndarray, n_first: int) -> np.ndarray:
    """Give each class its share of the first part, by largest remainders."""
    import numpy as np

    exact = sizes * n_first / sizes.sum()
    quotas: np.ndarray = np.floor(exact).astype(int)
    largest = np.argsort(-(exact - quotas), kind="stable")
    quotas[largest[: n_first - quotas.sum()]] += 1
    return quotas
