"""Tables as Arrow: uncompressed IPC files that are memory-mapped, or Parquet on remote stores."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executors.base import ArtifactRef, Column
from executors.runtime.errors import InvalidInputError, InvalidOutputError
from executors.runtime.staging import DigestingFile

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PARQUET_SUFFIX = ".parquet"
ARROW_SUFFIX = ".arrow"


def is_table(value: Any) -> bool:
    """Tell whether a value is a pandas DataFrame or a pyarrow Table, without importing either."""
    return (type(value).__module__.split(".")[0], type(value).__name__) in {
        ("pandas", "DataFrame"),
        ("pyarrow", "Table"),
    } or any(
        (base.__module__.split(".")[0], base.__name__) == ("pandas", "DataFrame")
        for base in type(value).__mro__
    )


def convert_to_arrow(port: str, value: Any) -> pa.Table:
    """Return a value of an output port as an Arrow table; the index of a DataFrame is not kept."""
    import pyarrow as pa

    if isinstance(value, pa.Table):
        table = value
    else:
        try:
            table = pa.Table.from_pandas(value, preserve_index=False)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise InvalidOutputError(
                f"Output {port!r} cannot be stored as a table: {_describe(error)}.",
                "Each column must be of one type, and its name must be text.",
            ) from error
    names = table.column_names
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InvalidOutputError(f"Output {port!r} has columns of one name: {', '.join(twice)}.")
    return table


def write_table(table: pa.Table, file: DigestingFile, *, as_parquet: bool) -> None:
    """Write a table to an open file."""
    import pyarrow as pa

    with pa.PythonFile(file, mode="w") as sink:
        if as_parquet:
            import pyarrow.parquet as pq

            pq.write_table(table, sink)
        else:
            with pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)


def describe_columns(table: pa.Table) -> list[Column]:
    """Return the names and types of a table's columns."""
    return [Column(name=field.name, type=str(field.type)) for field in table.schema]


def read_table(path: Path, ref: ArtifactRef) -> pa.Table:
    """Open a stored table, mapped into memory where its format allows it, and check its footer."""
    import pyarrow as pa

    return _read(path, ref, lambda: pa.memory_map(str(path)))


def read_frame(path: Path, ref: ArtifactRef) -> pd.DataFrame:
    """Open a stored table as a DataFrame, which is the algorithm's own to change.

    The numbers of a large table stay in the file, mapped into memory, until they are written to.
    """
    import pyarrow as pa

    from executors.runtime import frames

    source = None
    if path.suffix != PARQUET_SUFFIX and ref.size_bytes >= frames.SMALLEST_BYTES:
        source = frames.map_privately(path)
    if source is None:
        copied: pd.DataFrame = read_table(path, ref).to_pandas()
        return copied
    buffer = pa.py_buffer(source)
    return frames.show_as_frame(_read(path, ref, lambda: buffer), source, buffer.address)


def _read(path: Path, ref: ArtifactRef, open_source: Callable[[], Any]) -> pa.Table:
    import pyarrow as pa

    try:
        if path.suffix == PARQUET_SUFFIX:
            import pyarrow.parquet as pq

            table = pq.read_table(path, memory_map=True)
        else:
            table = pa.ipc.open_file(open_source()).read_all()
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(
            f"The table {path} is damaged: {_describe(error)}.",
            "Run the operator that made it again (cache: refresh).",
        ) from error
    if ref.rows is not None and table.num_rows != ref.rows:
        raise InvalidInputError(
            f"The table {path} has {table.num_rows} rows; {ref.rows} were stored."
        )
    return table


def _describe(error: Exception) -> str:
    """Put pyarrow's message, which comes as a tuple with a column's name, on one line."""
    text = "; ".join(str(part) for part in error.args) or type(error).__name__
    return re.sub(r"\s+", " ", text).strip().rstrip(".")
