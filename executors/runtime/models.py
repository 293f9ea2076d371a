"""Models as skops files: never pickle, only types of a fixed list, equal bytes for equal models.

A file holds `{"estimator", "columns", "target", "positive_class"}`. It is a ZIP archive whose
members are stored uncompressed, so that a file cannot blow up when it is opened, with a fixed date.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
_SCHEMA = "schema.json"
_DAMAGED_HINT = "Run the operator that made it again (cache: refresh)."


def encode_model(port: str, model: FittedModel) -> bytes:
    """Return the bytes of a model's file."""
    import skops.io

    content = {
        "estimator": model.estimator,
        "columns": [str(column) for column in model.columns],
        "target": model.target,
        "positive_class": _make_plain(model.positive_class),
    }
    try:
        data = _make_reproducible(skops.io.dumps(content))
        untrusted = set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED_TYPES)
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
        _check_archive(path)
        content = skops.io.load(path, trusted=list(TRUSTED_TYPES))
    except skops.io.exceptions.UntrustedTypesFoundException as error:
        raise InvalidInputError(f"The model {path} is refused: {error}.", _DAMAGED_HINT) from error
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError) as error:
        raise InvalidInputError(f"The model {path} is damaged: {error}.", _DAMAGED_HINT) from error
    if not isinstance(content, dict) or "estimator" not in content:
        raise InvalidInputError(f"The model {path} holds no estimator.", _DAMAGED_HINT)
    return content


def _make_plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _make_reproducible(data: bytes) -> bytes:
    """Write the archive again with numbers in place of memory addresses and a fixed date."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = json.loads(archive.read(_SCHEMA))
        renaming = _Renaming()
        renaming.visit(schema)
        members = [(_SCHEMA, json.dumps(schema, ensure_ascii=False).encode())]
        members += [(new, archive.read(old)) for old, new in renaming.files.items()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_STORED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, _FIXED_DATE)
            info.create_system = 3
            info.external_attr = 0o600 << 16
            archive.writestr(info, content)
    return buffer.getvalue()


class _Renaming:
    """Numbers objects and member files in the order in which the schema names them.

    Whether two equal plain values are one object is chance, so each gets a number of its own.
    """

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self._objects: dict[int, int] = {}
        self._n_objects = 0

    def visit(self, node: Any) -> None:
        """Renumber a node and all below it, in place."""
        if isinstance(node, list):
            for item in node:
                self.visit(item)
        if not isinstance(node, dict):
            return
        _sort_attributes(node)
        if "__id__" in node:
            node["__id__"] = self._number(node)
        if isinstance(node.get("file"), str) and "__loader__" in node:
            suffix = Path(node["file"]).suffix
            node["file"] = self.files.setdefault(node["file"], f"{len(self.files)}{suffix}")
        for value in node.values():
            self.visit(value)

    def _number(self, node: dict[str, Any]) -> int:
        old = node["__id__"]
        if node.get("__loader__") != "JsonNode" and old in self._objects:
            return self._objects[old]
        self._n_objects += 1
        if node.get("__loader__") != "JsonNode":
            self._objects[old] = self._n_objects
        return self._n_objects


def _sort_attributes(node: dict[str, Any]) -> None:
    """Put an object's attributes in order: which was set first depends on its history."""
    state = node.get("content")
    if node.get("__loader__") != "ObjectNode" or not isinstance(state, dict):
        return
    key_types = state.get("key_types", {}).get("content", [])
    if isinstance(state.get("content"), dict) and all(
        key_type.get("__class__") == "str" for key_type in key_types
    ):
        state["content"] = dict(sorted(state["content"].items()))


def _check_archive(path: Path) -> None:
    """Refuse an archive that would take more room in memory than it takes on the disk."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise InvalidInputError(f"The model {path} is compressed; models are stored plainly.")
        declared = sum(member.file_size for member in members)
        if declared > min(LIMIT_BYTES, path.stat().st_size):
            raise InvalidInputError(
                f"The model {path} declares {declared} bytes, more than it has or may have."
            )
        for member in members:
            if member.filename.endswith(".npy"):
                with archive.open(member) as file:
                    _check_array(path, file, member.file_size)
            elif member.filename.endswith(".npz"):
                _check_nested(path, archive.read(member))


def _check_nested(path: Path, data: bytes) -> None:
    """Check the archive of a sparse matrix, which scipy compresses."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > LIMIT_BYTES:
            raise InvalidInputError(
                f"The model {path} declares a matrix beyond {LIMIT_BYTES} bytes."
            )
        for member in members:
            with archive.open(member) as file:
                _check_array(path, file, member.file_size)


def _check_array(path: Path, file: Any, size_bytes: int) -> None:
    """Refuse an array whose header asks for more memory than its member has bytes."""
    import math

    from numpy.lib import format as npy

    major, _ = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise InvalidInputError(f"The model {path} holds pickled objects.")
    if math.prod(shape) * dtype.itemsize > size_bytes:
        raise InvalidInputError(f"The model {path} declares an array larger than its bytes.")
