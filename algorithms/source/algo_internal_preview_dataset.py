"""Show what is in a dataset; the dag engine runs it to answer previews."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from algorithms.base import Context, Port, algorithm
from algorithms.source.reading import read_dataset

MAX_TEXT = 1_000


class PreviewDatasetParams(BaseModel):
    """Parameters of the preview."""

    model_config = ConfigDict(extra="forbid")

    data_id: str | int = Field(
        title="Dataset", json_schema_extra={"title_zh": "数据集", "format": "dataset-id"}
    )
    limit: int = Field(
        50, ge=0, le=1000, title="Rows shown", json_schema_extra={"title_zh": "显示行数"}
    )


@algorithm(
    "algo_internal_preview_dataset",
    title="Preview a dataset",
    title_zh="预览数据集",
    family="internal",
    version="1",
    outputs=[Port("preview", "report")],
)
def preview_dataset(context: Context, params: PreviewDatasetParams) -> dict[str, Any]:
    """Read a dataset's schema, its number of rows and its first rows.

    Parameters
    ----------
    context : Context
        Hands out the dataset.
    params : PreviewDatasetParams
        Which dataset, and how many rows to show (0 to 1000).

    Returns
    -------
    dict
        `columns` (a list of `{"name", "type"}`), `rows` (how many there are) and `items` (the first
        rows, each a list in the order of the columns). Texts beyond 1,000 characters are cut.

    Raises
    ------
    AlgorithmError
        If the file cannot be read, as in `algo_local_read_file`.

    Notes
    -----
    Missing values: shown as null, as are NaN and infinities.
    Input: not modified.
    Randomness: none.
    Cost: that of reading the dataset whole, since only then its types and rows are known.

    References
    ----------
    Apache Arrow, Columnar Format, Schema.

    Examples
    --------
    >>> PreviewDatasetParams(data_id="40").limit
    50
    """
    table = read_dataset(context, params.data_id)
    columns = [
        [_make_plain(value) for value in column.to_pylist()]
        for column in table.slice(0, params.limit).itercolumns()
    ]
    return {
        "columns": [{"name": field.name, "type": str(field.type)} for field in table.schema],
        "rows": table.num_rows,
        "items": [list(row) for row in zip(*columns, strict=True)],
    }


def _make_plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, list | dict | decimal.Decimal | dt.timedelta | bytes):
        value = str(value)
    text = str(value)
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"
