"""Show a stored table as a DataFrame whose numbers stay where they lie: in the mapped file.

The map is private. What an algorithm writes into its DataFrame goes to pages of its own process,
never to the artifact; until then all readers of a table share its pages.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

SMALLEST_BYTES = 1 << 20
"""Copying a smaller table costs less than finding out what need not be copied."""

_MAX_PIECES = 64
"""With more of them pandas would be slower later than copying is now."""
_MAX_PADDING_BYTES = 64
"""Arrow puts at most so much between the columns of a file."""
_N_COPIED_AT_ONCE = 16
"""Columns that must be copied are copied by such parts of the table, and after each the pages of
the map are given back: else a copy and its source would lie in memory together."""


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Where the values of one column lie: in one piece, of a numpy type, none of them missing."""

    dtype: np.dtype[Any]
    offset: int


@dataclass(slots=True)
class _Piece:
    """Neighbouring columns: shown as one array, or copied where `dtype` is None.

    The columns of an array begin `stride` bytes after one another.
    """

    first: int
    n_columns: int = 1
    dtype: np.dtype[Any] | None = None
    offset: int = 0
    stride: int = 0


def map_privately(path: Path) -> mmap.mmap | None:
    """Map a file so that writing changes this process alone; None where that is not possible.

    Writable maps count against limits that read-only ones do not (overcommit, RLIMIT_DATA).
    """
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError):  # ValueError: the file is empty
            return None


def show_as_frame(table: pa.Table, source: mmap.mmap, base: int) -> pd.DataFrame:
    """Return a table whose buffers lie in a private map as a DataFrame.

    Parameters
    ----------
    table : pyarrow.Table
        Read from the map.
    source : mmap.mmap
        The map; the DataFrame keeps it.
    base : int
        The address of its first byte.

    Returns
    -------
    pandas.DataFrame of shape (n_rows, n_columns)
        Equal to `table.to_pandas()`. Columns of numbers without missing values, each stored in one
        piece, are not copied; all others are.
    """
    import pandas as pd

    described = table.schema.pandas_metadata or {}
    if described.get("index_columns") or not table.num_rows:
        copied: pd.DataFrame = table.to_pandas()
        return copied
    # No rows, but all that pandas has to know: labels, types, attributes.
    shape = table.slice(0, 0).to_pandas()
    pieces = list(_cut(table, list(shape.dtypes), base))
    if len(pieces) > _MAX_PIECES:
        pieces = [_Piece(0, table.num_columns)]
    frames = [frame for piece in pieces for frame in _make_frames(table, piece, source)]
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, axis=1)
    frame.columns = shape.columns
    frame.attrs = shape.attrs
    return frame


def _cut(table: pa.Table, dtypes: list[Any], base: int) -> Iterator[_Piece]:
    """Put neighbours together that make one array: equally spaced columns of one type."""
    piece: _Piece | None = None
    for index, dtype in enumerate(dtypes):
        numbers = _find_numbers(table.column(index), dtype, base)
        if piece is not None and _grow(piece, numbers, table.num_rows):
            continue
        if piece is not None:
            yield piece
        piece = _Piece(index)
        if numbers is not None:
            piece.dtype, piece.offset = numbers.dtype, numbers.offset
    if piece is not None:
        yield piece


def _grow(piece: _Piece, numbers: _Numbers | None, n_rows: int) -> bool:
    """Let a piece grow by the next column; tell whether that was possible."""
    if piece.dtype is None or numbers is None:
        is_fit = piece.dtype is None and numbers is None
    else:
        stride = numbers.offset - piece.offset - (piece.n_columns - 1) * piece.stride
        room = stride - n_rows * piece.dtype.itemsize
        is_fit = numbers.dtype == piece.dtype and 0 <= room <= _MAX_PADDING_BYTES
        is_fit = is_fit and piece.stride in (0, stride)
        if is_fit:
            piece.stride = stride
    piece.n_columns += is_fit
    return is_fit


def _find_numbers(column: pa.ChunkedArray, dtype: Any, base: int) -> _Numbers | None:
    """Return where a column's numbers lie; None where pandas needs them otherwise."""
    import numpy as np

    if not isinstance(dtype, np.dtype) or dtype.kind not in "iuf":
        return None
    if column.num_chunks != 1 or column.null_count or column.type.to_pandas_dtype() != dtype:
        return None
    chunk = column.chunk(0)
    address = chunk.buffers()[1].address + chunk.offset * dtype.itemsize
    return _Numbers(dtype, address - base)


def _make_frames(table: pa.Table, piece: _Piece, source: mmap.mmap) -> Iterator[pd.DataFrame]:
    import numpy as np
    import pandas as pd

    if piece.dtype is not None:
        stride = piece.stride or table.num_rows * piece.dtype.itemsize
        values: np.ndarray[Any, Any] = np.ndarray(
            (piece.n_columns, table.num_rows),
            piece.dtype,
            buffer=source,
            offset=piece.offset,
            strides=(stride, piece.dtype.itemsize),
        )
        yield pd.DataFrame(values.T, copy=False)
        return
    size_bytes = max(1, table.nbytes // _N_COPIED_AT_ONCE)
    names = table.column_names[piece.first : piece.first + piece.n_columns]
    while names:
        n_taken, n_bytes = 0, 0
        while n_taken < len(names) and (not n_taken or n_bytes < size_bytes):
            n_bytes += table.column(names[n_taken]).nbytes
            n_taken += 1
        yield table.select(names[:n_taken]).to_pandas()
        names = names[n_taken:]
        # Nobody has written to the map yet, so nothing is lost; it is read again where needed.
        source.madvise(mmap.MADV_DONTNEED)
