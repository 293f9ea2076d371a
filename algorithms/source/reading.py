"""Read a dataset's file in any of the known formats into an Arrow table."""

from __future__ import annotations

import codecs
import gzip
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from algorithms.base import AlgorithmError, Context, Dataset

if TYPE_CHECKING:
    import pyarrow as pa

MAX_UNPACKED_BYTES = 32 << 30
"""No gzip or Excel file is unpacked beyond this; it keeps a crafted file from filling the disk."""

ENCODINGS = ("utf-8", "gb18030")
"""Tried in this order where the dataset does not name one; gb18030 includes GBK and GB2312."""

_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_FORMAT_NAMES = {"xlsx": "excel", "json": "jsonl", "jsonlines": "jsonl", "ndjson": "jsonl"}
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_dataset(context: Context, data_id: str | int) -> pa.Table:
    """Read a registered dataset whole.

    Parameters
    ----------
    context : Context
        Hands out the dataset, and the folder in which gzip files are unpacked.
    data_id : str or int
        Id of the dataset; a number stands for its decimal text.

    Returns
    -------
    pyarrow.Table
        All rows, with the columns' names as text.

    Raises
    ------
    AlgorithmError
        If the format is not known, or the file is not of its format.
    """
    dataset = context.dataset(str(data_id))
    path = dataset.path()
    name = find_format(dataset)
    if _is_gzip(path):
        path = _unpack(context, path)
    table = _READERS[name](path, dataset.options)
    context.log.info(
        "Read dataset %s version %d (%s): %d rows, %d columns.",
        dataset.id,
        dataset.version,
        name,
        table.num_rows,
        table.num_columns,
    )
    return table


def find_format(dataset: Dataset) -> str:
    """Return `csv`, `tsv`, `parquet`, `excel` or `jsonl`: as declared, else by the name's ending.

    Raises
    ------
    AlgorithmError
        If neither tells.
    """
    declared = dataset.format.lower().lstrip(".").removesuffix(".gz")
    name = _FORMAT_NAMES.get(declared, declared)
    if not name:
        suffixes = [suffix.lower() for suffix in Path(urlsplit(dataset.uri).path).suffixes]
        suffixes = suffixes[:-1] if suffixes[-1:] == [".gz"] else suffixes
        name = _FORMATS.get(suffixes[-1], "") if suffixes else ""
    if name not in _READERS:
        raise AlgorithmError(
            f"The format of dataset {dataset.id!r} ({dataset.format or dataset.uri}) is not known.",
            f"Declare one of: {', '.join(_READERS)}.",
        )
    return name


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _unpack(context: Context, path: Path) -> Path:
    target = context.workdir / "unpacked"
    n_bytes = 0
    try:
        with gzip.open(path) as source, target.open("wb") as file:
            while block := source.read(1 << 20):
                n_bytes += len(block)
                if n_bytes > MAX_UNPACKED_BYTES:
                    raise AlgorithmError(f"{path.name} unpacks to over {MAX_UNPACKED_BYTES} bytes.")
                file.write(block)
    except (gzip.BadGzipFile, EOFError) as error:
        raise AlgorithmError(f"{path.name} is a damaged gzip file: {error}.") from error
    return target


def _read_csv(path: Path, options: Mapping[str, Any]) -> pa.Table:
    return _read_text(path, options, lambda encoding: _parse_csv(path, options, ",", encoding))


def _read_tsv(path: Path, options: Mapping[str, Any]) -> pa.Table:
    return _read_text(path, options, lambda encoding: _parse_csv(path, options, "\t", encoding))


def _parse_csv(path: Path, options: Mapping[str, Any], separator: str, encoding: str) -> Any:
    import pandas as pd

    try:
        return pd.read_csv(
            path,
            sep=_check_separator(str(options.get("separator", separator))),
            encoding=encoding,
            compression=None,
            # A column has one type, whatever its first rows look like.
            low_memory=False,
        )
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise AlgorithmError(
            f"{path.name} cannot be read as delimited text: {error}.",
            "Look at its header and at the number of fields in that line.",
        ) from error


def _check_separator(separator: str) -> str:
    """Take one character; pandas would take more for a pattern, and a pattern can run for ever."""
    if len(separator) != 1 or separator in '\r\n"':
        raise AlgorithmError(
            f"The option separator must be one character, and is {separator[:40]!r}.",
            "Register the dataset anew with such a separator, for example ';' or a tab.",
        )
    return separator


def _read_json_lines(path: Path, options: Mapping[str, Any]) -> pa.Table:
    return _read_text(path, options, lambda encoding: _parse_json_lines(path, encoding))


def _parse_json_lines(path: Path, encoding: str) -> Any:
    import pandas as pd

    records = []
    with path.open(encoding=encoding) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise AlgorithmError(f"{path.name}, line {number} is no JSON: {error}.") from error
            if not isinstance(record, dict):
                raise AlgorithmError(
                    f"{path.name}, line {number} holds {type(record).__name__}.",
                    "Each line must be a JSON object.",
                )
            records.append(record)
    return pd.DataFrame.from_records(records)


def _read_text(path: Path, options: Mapping[str, Any], parse: Callable[[str], Any]) -> pa.Table:
    """Parse a text file with its declared encoding, or the first one that fits."""
    declared = options.get("encoding")
    tried = [_check_encoding(str(declared))] if declared else _guess_encodings(path)
    for encoding in tried:
        try:
            return _to_arrow(path, parse("utf-8-sig" if encoding == "utf-8" else encoding))
        except UnicodeError:
            continue
    raise AlgorithmError(
        f"{path.name} is not text in {' or '.join(tried)}.",
        "Name its encoding in the options of the dataset.",
    )


def _check_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError as error:
        raise AlgorithmError(f"The encoding {name!r} is not known.") from error
    return name


def _guess_encodings(path: Path) -> list[str]:
    with path.open("rb") as file:
        is_utf16 = file.read(2) in _UTF16_MARKS
    return ["utf-16"] if is_utf16 else list(ENCODINGS)


def _read_excel(path: Path, options: Mapping[str, Any]) -> pa.Table:
    import pandas as pd

    sheet = options.get("sheet", 0)
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(member.file_size for member in archive.infolist())
        if declared > MAX_UNPACKED_BYTES:
            raise AlgorithmError(f"{path.name} unpacks to over {MAX_UNPACKED_BYTES} bytes.")
        df = pd.read_excel(path, sheet_name=sheet, engine="openpyxl")
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise AlgorithmError(
            f"{path.name} cannot be read as an Excel workbook: {error}.",
            "It must be an .xlsx file; the option `sheet` names the sheet.",
        ) from error
    return _to_arrow(path, df)


def _read_parquet(path: Path, _options: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # A file object keeps pyarrow from reading partitions out of the folders' names.
        with path.open("rb") as file:
            return pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise AlgorithmError(f"{path.name} cannot be read as Parquet: {error}.") from error


def _to_arrow(path: Path, df: Any) -> pa.Table:
    """Turn a DataFrame into a table; columns of mixed types become text."""
    import pyarrow as pa

    df.columns = [str(name) for name in df.columns]
    if df.columns.has_duplicates:
        raise AlgorithmError(f"{path.name} has two columns of one name.")
    try:
        return pa.Table.from_pandas(df, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        mixed = [name for name in df.columns if _is_mixed(df[name])]
        df = df.assign(**{name: df[name].astype("str").where(df[name].notna()) for name in mixed})
        return pa.Table.from_pandas(df, preserve_index=False)


def _is_mixed(column: Any) -> bool:
    import pyarrow as pa

    try:
        pa.Array.from_pandas(column)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return True
    return False


_READERS: dict[str, Callable[[Path, Mapping[str, Any]], Any]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "parquet": _read_parquet,
    "excel": _read_excel,
    "jsonl": _read_json_lines,
}
