"""Read a table of a database through a named connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from algorithms.base import AlgorithmError, Context, Port, algorithm
from algorithms.columns import check_columns

if TYPE_CHECKING:
    import pyarrow as pa


class ReadSqlTableParams(BaseModel):
    """Parameters of reading a database table."""

    model_config = ConfigDict(extra="forbid")

    connection: str = Field(
        title="Connection",
        description="Name of a stored connection.",
        json_schema_extra={"title_zh": "数据库连接", "format": "connection"},
    )
    table: str = Field(
        min_length=1, title="Table or view", json_schema_extra={"title_zh": "表或视图"}
    )
    columns: list[str] | None = Field(
        None,
        title="Columns",
        description="Left out: all columns.",
        json_schema_extra={"title_zh": "列"},
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(
        None, title="Rows at most", json_schema_extra={"title_zh": "最大行数"}
    )


@algorithm(
    "algo_read_sql_table",
    title="Read a database table",
    title_zh="读数据库表",
    family="source",
    version="1",
    outputs=[Port("rows", "table")],
    cacheable=False,
)
def read_sql_table(context: Context, params: ReadSqlTableParams) -> pa.Table:
    """Read a table or view of a database.

    Names are taken only if the database itself lists them; there is no free SQL. Since a table may
    change between two runs, the result is never taken from the cache.

    Parameters
    ----------
    context : Context
        Hands out the connection; is told of every portion, and asked whether to stop.
    params : ReadSqlTableParams
        Connection, table, columns and limit.

    Returns
    -------
    pyarrow.Table of shape (n_rows, n_columns)
        The rows in the database's own order, which no database promises to keep.

    Raises
    ------
    AlgorithmError
        If there is no such connection, table or column, the server cannot be reached, or a column
        holds values of several types.

    Notes
    -----
    Missing values: NULL is read as missing.
    Input: not modified.
    Randomness: none.
    Cost: time O(n_rows); memory about three times the table.

    References
    ----------
    PEP 249, Python Database API Specification v2.0.

    Examples
    --------
    >>> ReadSqlTableParams(connection="warehouse", table="loans").limit is None
    True
    """
    connection = context.connection(params.connection)
    known = connection.columns(params.table)
    columns = params.columns if params.columns is not None else known
    if not columns:
        raise AlgorithmError("columns names no column.", "Leave it out to read all of them.")
    check_columns(known, columns, "columns")
    values: list[list[object]] = [[] for _ in columns]
    n_rows = 0
    for portion in connection.read(params.table, columns, params.limit):
        for into, column in zip(values, zip(*portion, strict=True), strict=True):
            into.extend(column)
        n_rows += len(portion)
        context.progress(n_rows, 0, f"{n_rows} rows")
        if context.cancelled():
            break
    return _make_table(columns, values)


def _make_table(columns: list[str], values: list[list[object]]) -> pa.Table:
    import pyarrow as pa

    arrays = []
    for name, column in zip(columns, values, strict=True):
        try:
            arrays.append(pa.array(column))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise AlgorithmError(
                f"Column {name!r} holds values of several types: {error}.",
                "Read the other columns, or a view that converts it.",
            ) from error
    return pa.Table.from_arrays(arrays, names=list(columns))
