"""Models as skops files: never pickle, only types of a fixed list, equal bytes for equal models.

A file holds `{"estimator", "columns", "target", "positive_class"}`. It is a ZIP archive whose
members are stored uncompressed, so that a file cannot blow up when it is opened, with a fixed date.
"""

from __future__ import annotations

import functools
import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executors.runtime import skops_files
from executors.runtime.errors import InvalidInputError, InvalidOutputError

if TYPE_CHECKING:
    from algorithms.base import FittedModel

LIMIT_BYTES = 4 << 30
"""No model is larger once it is in memory; a file that declares more is refused unread."""

TRUSTED_TYPES = (
    "sklearn._loss.link.HalfLogitLink",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogLink",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.AbsoluteError",
    "sklearn._loss.loss.ExponentialLoss",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn._loss.loss.HuberLoss",
    "sklearn._loss.loss.PinballLoss",
    "sklearn.tree._tree.Tree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._ball_tree.BallTree",
)
"""Types that a model may hold beside the estimators that skops itself trusts. This list is the
only gate: what a file names is never fed back into it."""

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_NESTED = (dict, list, tuple)
_ARRAY_MARK, _ZIP_MARK = b"\x93NUMPY", b"PK"
_HEADER_BYTES = 16 << 10
"""numpy itself refuses a header of more than 10,000 bytes."""
_DAMAGED_HINT = "Run the operator that made it again (cache: refresh)."


def make_content(model: FittedModel) -> dict[str, Any]:
    """Return what a model's file holds."""
    return {
        "estimator": model.estimator,
        "columns": [str(column) for column in model.columns],
        "target": model.target,
        "positive_class": _make_plain(model.positive_class),
    }


def encode_model(port: str, model: FittedModel) -> bytes:
    """Return the bytes of a model's file."""
    import skops.io

    content = make_content(model)
    try:
        with skops_files.pause_collecting():
            schema, files = skops_files.take_apart(content)
            data, kinds = _write_reproducibly(schema, files)
            untrusted = skops_files.find_untrusted(kinds, data, TRUSTED_TYPES)
    except (TypeError, ValueError, skops.io.exceptions.UnsupportedTypeException) as error:
        raise InvalidOutputError(
            f"Output {port!r} cannot be stored as a model: {error}."
        ) from error
    if untrusted:
        raise InvalidOutputError(
            f"Output {port!r} holds types that no model may hold: {', '.join(sorted(untrusted))}.",
            "Models are made of scikit-learn's own estimators.",
        )
    return data


def decode_model(path: Path) -> dict[str, Any]:
    """Read a model's file after checking what it declares; return its content."""
    import skops.io

    try:
        with skops_files.pause_collecting():
            content = skops_files.put_together(_read_archive(path), TRUSTED_TYPES)
    except skops.io.exceptions.UntrustedTypesFoundException as error:
        raise InvalidInputError(f"The model {path} is refused: {error}.", _DAMAGED_HINT) from error
    except (InvalidInputError, MemoryError):
        raise
    except Exception as error:
        raise InvalidInputError(f"The model {path} is damaged: {error}.", _DAMAGED_HINT) from error
    if not isinstance(content, dict) or "estimator" not in content:
        raise InvalidInputError(f"The model {path} holds no estimator.", _DAMAGED_HINT)
    return content


def _make_plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _write_reproducibly(
    schema: dict[str, Any], files: Mapping[str, bytes]
) -> tuple[bytes, set[skops_files.Kind]]:
    """Write an archive with numbers in place of memory addresses and a fixed date; return it with
    the kinds of its nodes.
    """
    renaming = _Renaming()
    renamed = renaming.visit(schema)
    members = [
        (skops_files.SCHEMA, json.dumps(renamed, ensure_ascii=False, check_circular=False).encode())
    ]
    members += [(new, files[old]) for old, new in renaming.files.items()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_STORED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, _FIXED_DATE)
            info.create_system = 3
            info.external_attr = 0o600 << 16
            archive.writestr(info, content)
    return buffer.getvalue(), renaming.kinds


class _Renaming:
    """Numbers objects and member files in the order in which the schema names them, and collects
    the kinds of its nodes.

    Whether two equal plain values are one object is chance, so each gets a number of its own.
    """

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.kinds: set[skops_files.Kind] = set()
        self._objects: dict[int, int] = {}
        self._n_objects = 0

    def visit(self, node: Any) -> Any:
        """Return a copy of a node with all below it renumbered."""
        if isinstance(node, list | tuple):
            return [self.visit(item) if isinstance(item, _NESTED) else item for item in node]
        copied = dict(node)
        loader = copied.get("__loader__")
        if loader is not None:
            if loader == "ObjectNode":
                copied["content"] = _sort_attributes(copied["content"])
            self.kinds.add((loader, copied.get("__module__"), copied.get("__class__")))
            if isinstance(copied.get("file"), str):
                suffix = Path(copied["file"]).suffix
                copied["file"] = self.files.setdefault(copied["file"], f"{len(self.files)}{suffix}")
        if "__id__" in copied:
            copied["__id__"] = self._number(copied)
        for key, value in copied.items():
            if isinstance(value, _NESTED):
                copied[key] = self.visit(value)
        return copied

    def _number(self, node: dict[str, Any]) -> int:
        old = node["__id__"]
        if node.get("__loader__") != "JsonNode" and old in self._objects:
            return self._objects[old]
        self._n_objects += 1
        if node.get("__loader__") != "JsonNode":
            self._objects[old] = self._n_objects
        return self._n_objects


def _sort_attributes(state: Any) -> Any:
    """Put an object's attributes in order: which was set first depends on its history."""
    if not isinstance(state, dict) or not isinstance(state.get("content"), dict):
        return state
    key_types = state.get("key_types", {}).get("content", [])
    if all(key_type.get("__class__") == "str" for key_type in key_types):
        return {**state, "content": dict(sorted(state["content"].items()))}
    return state


def _read_archive(path: Path) -> skops_files.Members:
    """Read an archive, but none that would take more room in memory than it takes on the disk."""
    members = skops_files.Members()
    with zipfile.ZipFile(path) as archive:
        for member in _list_plain(path, archive, path.stat().st_size):
            data = members[member.filename] = archive.read(member)
            # By their content too: the schema may call an array by any name.
            if member.filename.endswith(".npy") or data.startswith(_ARRAY_MARK):
                _check_array(path, data)
            elif member.filename.endswith(".npz") or data.startswith(_ZIP_MARK):
                _check_nested(path, data)
    return members


def _check_nested(path: Path, data: bytes) -> None:
    """Check the archive of a sparse matrix in the same way."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in _list_plain(path, archive, len(data)):
            _check_array(path, archive.read(member))


def _list_plain(path: Path, archive: zipfile.ZipFile, size_bytes: int) -> list[zipfile.ZipInfo]:
    """List the members; raise where they are compressed, or say that they hold more than is there.

    What a member says of its size is all that is ever read of it.
    """
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise InvalidInputError(f"The model {path} is compressed; models are stored plainly.")
    declared = sum(member.file_size for member in members)
    if declared > min(LIMIT_BYTES, size_bytes):
        raise InvalidInputError(
            f"The model {path} declares {declared} bytes, more than it has or may have."
        )
    return members


def _check_array(path: Path, data: bytes) -> None:
    """Refuse an array whose header asks for more memory than its member has bytes."""
    is_pickle, size_bytes = _read_header(data[:_HEADER_BYTES].partition(b"\n")[0] + b"\n")
    if is_pickle:
        raise InvalidInputError(f"The model {path} holds pickled objects.")
    if size_bytes > len(data):
        raise InvalidInputError(f"The model {path} declares an array larger than its bytes.")


@functools.lru_cache(maxsize=1024)
def _read_header(header: bytes) -> tuple[bool, int]:
    """Tell from an array's header, which many trees share, of what it is and how large."""
    from numpy.lib import format as npy

    file = io.BytesIO(header)
    major, _ = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
    shape, _, dtype = read_header(file)
    return dtype.hasobject, math.prod(shape) * dtype.itemsize
