"""Show the first rows of a stored table, or a stored report, as plain data for JSON."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from pathlib import PurePosixPath
from typing import Any

import msgspec

from executors.base import ArtifactRef, Column
from executors.runtime.errors import InvalidInputError
from executors.store import get_local_path, is_local, open_url

MAX_ROWS = 1_000
MAX_TEXT = 10_000


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """The beginning of an artifact.

    Parameters
    ----------
    type : str
        Of the artifact.
    columns : list of Column
        Schema of a table.
    rows : int, optional
        How many rows the table has.
    items : list of list
        The first rows, each in the order of the columns; NaN and infinities are null.
    value : Any
        A report; for a model what its reference tells of it.
    """

    type: str
    columns: list[Column] = []
    rows: int | None = None
    items: list[list[Any]] = []
    value: Any = None


def preview_artifact(ref: ArtifactRef, store_url: str, limit: int = 50) -> Preview:
    """Return the beginning of an artifact.

    Tables are memory-mapped, or their first rows fetched, so the cost does not grow with the table.

    Raises
    ------
    InvalidInputError
        If the artifact is gone, damaged, or lies outside the store.
    """
    if ref.type == "report":
        return Preview(type=ref.type, value=load_report(ref, store_url))
    if ref.type != "table":
        return Preview(type=ref.type, value=ref.meta)
    table = _read_head(ref, store_url, max(0, min(limit, MAX_ROWS)))
    columns = [[make_plain(value) for value in column.to_pylist()] for column in table.columns]
    return Preview(
        type=ref.type,
        columns=[Column(name=field.name, type=str(field.type)) for field in table.schema],
        rows=ref.rows,
        items=[list(row) for row in zip(*columns, strict=True)],
    )


def load_report(ref: ArtifactRef, store_url: str) -> Any:
    """Return the value of a report, inline or stored."""
    if ref.inline is not None:
        return ref.inline
    check_uri(ref, store_url)
    try:
        with open_url(ref.uri) as file:
            return msgspec.json.decode(file.read())
    except FileNotFoundError as error:
        raise InvalidInputError(f"The artifact {ref.uri} is gone.") from error
    except msgspec.DecodeError as error:
        raise InvalidInputError(f"The report {ref.uri} is damaged: {error}.") from error


def check_uri(ref: ArtifactRef, store_url: str) -> None:
    """Raise unless an artifact is a plain file of the store."""
    from executors.runtime.fetching import check_below_store, check_local_artifact

    if is_local(ref.uri):
        check_local_artifact(ref, store_url)
    else:
        check_below_store(ref.uri, store_url)


def make_plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, list):
        return [make_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): make_plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value[:MAX_TEXT].hex()
    if isinstance(value, decimal.Decimal | dt.timedelta):
        return str(value)
    text = str(value)
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def _read_head(ref: ArtifactRef, store_url: str, limit: int) -> Any:
    import pyarrow as pa

    check_uri(ref, store_url)
    try:
        if PurePosixPath(ref.uri).suffix == ".parquet":
            return _read_parquet_head(ref.uri, limit)
        source = pa.memory_map(get_local_path(ref.uri)) if is_local(ref.uri) else open_url(ref.uri)
        reader = pa.ipc.open_file(source)
        batches, n_rows = [], 0
        for index in range(reader.num_record_batches):
            if n_rows >= limit:
                break
            batches.append(reader.get_batch(index))
            n_rows += batches[-1].num_rows
        return pa.Table.from_batches(batches, reader.schema).slice(0, limit)
    except FileNotFoundError as error:
        raise InvalidInputError(f"The artifact {ref.uri} is gone.") from error
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"The table {ref.uri} is damaged: {error}.") from error


def _read_parquet_head(url: str, limit: int) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_url(url) as file:
        parquet = pq.ParquetFile(file)
        schema = parquet.schema_arrow
        if limit == 0:
            return schema.empty_table()
        batches = list(_take_first(parquet, limit))
        return pa.Table.from_batches(batches, schema).slice(0, limit)


def _take_first(parquet: Any, limit: int) -> Any:
    n_rows = 0
    for batch in parquet.iter_batches(batch_size=limit):
        yield batch
        n_rows += batch.num_rows
        if n_rows >= limit:
            return
