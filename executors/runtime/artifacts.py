"""Turn references into what an algorithm takes, and what it returns into references."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from executors.base import INLINE_LIMIT_BYTES, ArtifactRef, Task
from executors.masking import Masker
from executors.runtime.errors import InvalidInputError, InvalidOutputError
from executors.runtime.fetching import fetch_artifact
from executors.runtime.reports import encode_report, read_report
from executors.runtime.staging import COPY_BLOCK_BYTES, DigestingFile, StagedFolder

if TYPE_CHECKING:
    from algorithms.base import FittedModel, Port

_SUFFIX = re.compile(r"^\.[A-Za-z0-9]{1,12}$")


class ArtifactReader:
    """Opens references.

    Parameters
    ----------
    store_url : str
        The store that all artifacts of this installation lie in; empty = not checked.
    make_workdir : callable
        Gives the attempt's private folder, for what must be copied from elsewhere.
    """

    def __init__(self, store_url: str, make_workdir: Callable[[], Path]) -> None:
        self._store_url = store_url
        self._make_workdir = make_workdir

    def load(self, reference: ArtifactRef | dict[str, Any], *, as_arrow: bool = False) -> Any:
        """Return what a reference names, as an algorithm takes it."""
        ref = (
            reference
            if isinstance(reference, ArtifactRef)
            else msgspec.convert(reference, ArtifactRef)
        )
        if ref.inline is not None:
            return ref.inline
        path = fetch_artifact(ref, self._store_url, self._make_workdir)
        if ref.type == "table":
            from executors.runtime import tables

            return tables.read_table(path, ref) if as_arrow else tables.read_frame(path, ref)
        if ref.type == "model":
            return _load_model(path, ref)
        return read_report(path) if ref.type == "report" else path

    def load_port(self, port: Port, edges: Sequence[ArtifactRef], *, as_arrow: bool) -> Any:
        """Return what the edges into an input port bring."""
        for ref in edges:
            if ref.type not in port.types:
                raise InvalidInputError(
                    f"Input {port.name!r} takes {port.type}; a {ref.type} came."
                )
        values = [ref if port.type == "any" else self.load(ref, as_arrow=as_arrow) for ref in edges]
        if port.many:
            return values
        if len(values) > 1:
            raise InvalidInputError(f"Input {port.name!r} takes one edge; {len(values)} came.")
        if not values and not port.optional:
            raise InvalidInputError(f"Input {port.name!r} has no edge; it needs one.")
        return values[0] if values else None


def store_outputs(
    task: Task,
    ports: Sequence[Port],
    result: Any,
    make_workdir: Callable[[], Path],
    masker: Masker | None = None,
) -> list[ArtifactRef]:
    """Store what the algorithm returned and return one reference for each output port.

    Reports are shown to people, so `masker` takes secrets out of them; not out of tables, models
    and files, whose bytes are the algorithm's own.
    Small reports stay in their reference; the attempt's folder is made for the others only, and
    appears when all of them are complete.
    """
    values = _split_result(ports, result)
    if not values:
        return []
    folder = StagedFolder(task.folder, make_workdir)
    try:
        references = [
            _store(task, folder, index, port, value, masker)
            for index, (port, value) in enumerate(zip(ports, values, strict=True))
        ]
        folder.commit()
    finally:
        folder.discard()
    return references


def _split_result(ports: Sequence[Port], result: Any) -> tuple[Any, ...]:
    if not ports:
        if result is not None:
            raise InvalidOutputError(
                f"No output is declared, but {type(result).__name__} came.",
                "Declare an output port, or return nothing.",
            )
        return ()
    if len(ports) == 1:
        return (result,)
    if not isinstance(result, tuple) or len(result) != len(ports):
        came = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
        raise InvalidOutputError(
            f"{len(ports)} outputs are declared, so a tuple of {len(ports)} was expected; "
            f"{came} came."
        )
    return result


def _store(
    task: Task,
    folder: StagedFolder,
    index: int,
    port: Port,
    value: Any,
    masker: Masker | None,
) -> ArtifactRef:
    if isinstance(value, ArtifactRef):
        raise InvalidOutputError(
            f"Output {port.name!r} is a reference.", "Open it with context.load and return that."
        )
    found = _find_type(value)
    if found not in port.types:
        raise InvalidOutputError(
            f"Output {port.name!r} is declared as {port.type}; {type(value).__name__} came.",
            "A table is a pandas DataFrame or a pyarrow Table, a model a FittedModel, a report a "
            "dict, a file a pathlib.Path.",
        )
    if found == "report":
        return _store_report(folder, index, port, value, masker)
    return _WRITERS[found](task, folder, index, port, value)


def _find_type(value: Any) -> str:
    if isinstance(value, dict):
        return "report"
    if isinstance(value, Path):
        return "file"
    from algorithms.base import FittedModel

    if isinstance(value, FittedModel):
        return "model"
    from executors.runtime.tables import is_table

    return "table" if is_table(value) else ""


def _store_report(
    folder: StagedFolder, index: int, port: Port, value: Any, masker: Masker | None
) -> ArtifactRef:
    data = encode_report(port.name, value)
    if masker is not None:
        data = msgspec.json.encode(masker.mask_plain(msgspec.json.decode(data)))
    if len(data) <= INLINE_LIMIT_BYTES:
        import hashlib

        digest = hashlib.sha256(data).hexdigest()
        return ArtifactRef(
            type="report",
            sha256=digest,
            size_bytes=len(data),
            inline=msgspec.json.decode(data),
        )
    name = f"{index}.json"
    with contextlib.closing(folder.create_file(name)) as file:
        file.write(data)
    return _refer("report", folder, name, file)


def _store_table(
    _task: Task, folder: StagedFolder, index: int, port: Port, value: Any
) -> ArtifactRef:
    from executors.runtime import tables

    table = tables.convert_to_arrow(port.name, value)
    suffix = tables.ARROW_SUFFIX if folder.is_local else tables.PARQUET_SUFFIX
    name = f"{index}{suffix}"
    with contextlib.closing(folder.create_file(name)) as file:
        tables.write_table(table, file, as_parquet=not folder.is_local)
    return msgspec.structs.replace(
        _refer("table", folder, name, file),
        rows=table.num_rows,
        columns=tables.describe_columns(table),
    )


def _store_model(
    task: Task, folder: StagedFolder, index: int, port: Port, value: FittedModel
) -> ArtifactRef:
    from executors.runtime import recent_models
    from executors.runtime.models import encode_model, make_content

    data = encode_model(port.name, value)
    name = f"{index}.skops"
    with contextlib.closing(folder.create_file(name)) as file:
        file.write(data)
    content = make_content(value)
    recent_models.remember(file.sha256, len(data), content)
    fitted_on = value.fitted_on or _find_first_table(task)
    meta: dict[str, Any] = {**content, "estimator": type(value.estimator).__name__}
    if fitted_on is not None:
        meta["fitted_on"] = msgspec.to_builtins(fitted_on)
    return msgspec.structs.replace(_refer("model", folder, name, file), meta=meta)


def _store_file(
    _task: Task, folder: StagedFolder, index: int, port: Port, value: Path
) -> ArtifactRef:
    suffix = value.suffix if _SUFFIX.match(value.suffix) else ".bin"
    name = f"{index}{suffix}"
    try:
        source = os.open(value, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidOutputError(
            f"Output {port.name!r} names {value}, which cannot be read: {error.strerror}.",
            "Return the path of a plain file below context.workdir.",
        ) from error
    if not stat.S_ISREG(os.fstat(source).st_mode):
        os.close(source)
        raise InvalidOutputError(f"Output {port.name!r} names {value}, which is no plain file.")
    with (
        open(source, "rb", buffering=0) as opened,
        contextlib.closing(folder.create_file(name)) as file,
    ):
        while block := opened.read(COPY_BLOCK_BYTES):
            file.write(block)
    return msgspec.structs.replace(_refer("file", folder, name, file), meta={"name": value.name})


_WRITERS: dict[str, Callable[[Task, StagedFolder, int, Port, Any], ArtifactRef]] = {
    "table": _store_table,
    "model": _store_model,
    "file": _store_file,
}


def _refer(kind: str, folder: StagedFolder, name: str, file: DigestingFile) -> ArtifactRef:
    return ArtifactRef(
        type=kind, uri=folder.get_url(name), sha256=file.sha256, size_bytes=file.size_bytes
    )


def _find_first_table(task: Task) -> ArtifactRef | None:
    return next((ref for edges in task.inputs for ref in edges if ref.type == "table"), None)


def _load_model(path: Path, ref: ArtifactRef) -> FittedModel:
    from algorithms.base import FittedModel
    from executors.runtime import recent_models
    from executors.runtime.models import decode_model

    content = recent_models.recall(ref.sha256)
    if content is None:
        content = decode_model(path)
        recent_models.remember(ref.sha256, ref.size_bytes, content)
    fitted_on = ref.meta.get("fitted_on")
    return FittedModel(
        estimator=content["estimator"],
        columns=list(content.get("columns", [])),
        target=str(content.get("target", "")),
        positive_class=content.get("positive_class"),
        fitted_on=msgspec.convert(fitted_on, ArtifactRef) if fitted_on else None,
    )
