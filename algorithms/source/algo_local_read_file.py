"""Read a registered dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from algorithms.base import Context, Port, algorithm
from algorithms.source.reading import read_dataset

if TYPE_CHECKING:
    import pyarrow as pa


class ReadFileParams(BaseModel):
    """Parameters of reading a dataset."""

    model_config = ConfigDict(extra="forbid")

    data_id: str | int = Field(
        title="Dataset",
        description="Id of a registered dataset; a number stands for its decimal text.",
        json_schema_extra={"title_zh": "数据集", "format": "dataset-id"},
    )


@algorithm(
    "algo_local_read_file",
    title="Read a dataset",
    title_zh="读文件",
    family="source",
    version="1",
    outputs=[Port("rows", "table")],
)
def read_file(context: Context, params: ReadFileParams) -> pa.Table:
    """Read a registered dataset: csv, tsv, Parquet, Excel or JSON lines, also packed by gzip.

    Parameters
    ----------
    context : Context
        Hands out the version of the dataset that the run was pinned to.
    params : ReadFileParams
        Which dataset.

    Returns
    -------
    pyarrow.Table of shape (n_rows, n_columns)
        All rows. Numbers are int64 or float64, all else text, unless the format says more. The
        dataset's options `encoding`, `separator` (text) and `sheet` (Excel) are respected; without
        `encoding`, UTF-8 is tried, then GB18030.

    Raises
    ------
    AlgorithmError
        If the format is not known, the file is not of its format, or it has changed since it was
        registered.

    Notes
    -----
    Missing values: empty fields and the usual words for them (NA, NaN, NULL, None, N/A) are read as
    missing.
    Input: not modified.
    Randomness: none.
    Cost: time O(size of the file); memory about three times its unpacked size, for Parquet once.

    References
    ----------
    RFC 4180, Common Format and MIME Type for CSV Files. pandas, User Guide, IO tools.

    Examples
    --------
    >>> ReadFileParams(data_id=40).data_id
    40
    """
    return read_dataset(context, params.data_id)
