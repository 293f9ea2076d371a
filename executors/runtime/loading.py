"""Load an algorithm by the entry of its task, and keep what was loaded for the next attempt."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from executors.runtime.errors import LoadingError
from executors.runtime.parameters import list_deprecated

if TYPE_CHECKING:
    from algorithms.base import AlgorithmInfo

_ENTRY = re.compile(
    r"^(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*|/.+\.py):(?P<function>[A-Za-z_]\w*)$"
)
DIGEST_LENGTH = 12
"""How many digits of a file's digest stand in a code version."""


@dataclass(frozen=True, slots=True)
class LoadedAlgorithm:
    """An algorithm ready to be called.

    `wants_arrow` tells for every input whether its annotation asks for a `pyarrow.Table`,
    `deprecated` what becomes of each deprecated parameter.
    """

    info: AlgorithmInfo
    wants_arrow: tuple[bool, ...]
    deprecated: dict[str, str]
    path: str


_loaded: dict[tuple[str, str], LoadedAlgorithm] = {}


def load_algorithm(entry: str, code_version: str = "") -> LoadedAlgorithm:
    """Return the algorithm behind `module:function` or `/absolute/file.py:function`.

    With a code version, the file must still be the one that was offered: a result is kept under
    that version, so it must not come from other code.
    """
    key = (entry, code_version)
    found = _loaded.get(key)
    if found is None:
        found = _loaded[key] = _load(entry, code_version)
    return found


def digest_file(path: str | Path) -> str:
    """Return the sha256 of a source file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def make_code_version(version: str, digest: str) -> str:
    """Join an algorithm's declared version and the digest of its file."""
    return f"{version}+{digest[:DIGEST_LENGTH]}"


def load_source(path: str) -> ModuleType:
    """Import a file outside any package under a name made from its path."""
    name = f"dagengine_algorithms.{Path(path).stem}_{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadingError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    # Data classes and type hints look their module up by name while it is being executed.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load(entry: str, code_version: str) -> LoadedAlgorithm:
    match = _ENTRY.match(entry)
    if match is None:
        raise LoadingError(
            f"The entry {entry!r} is neither module:function nor /absolute/file.py:function."
        )
    module = _import(match["module"], is_stale=_is_loaded_otherwise(entry, code_version))
    info = getattr(getattr(module, match["function"], None), "algorithm", None)
    if info is None:
        raise LoadingError(
            f"{match['module']} has no algorithm {match['function']!r}.",
            "The function must bear the decorator algorithms.base.algorithm.",
        )
    path = str(module.__file__)
    if code_version:
        _check_version(info, path, code_version)
    return LoadedAlgorithm(
        info=info,
        wants_arrow=_find_arrow_inputs(info),
        deprecated=list_deprecated(info.params),
        path=path,
    )


def _is_loaded_otherwise(entry: str, code_version: str) -> bool:
    return any(known == entry and version != code_version for known, version in _loaded)


def _import(module_name: str, *, is_stale: bool) -> ModuleType:
    try:
        if module_name.startswith("/"):
            return load_source(module_name)
        module = importlib.import_module(module_name)
        return importlib.reload(module) if is_stale else module
    except FileNotFoundError as error:
        raise LoadingError(
            f"The file {module_name} of the algorithm is not on this machine.",
            "Install it on every operator engine that offers it.",
        ) from error
    except ModuleNotFoundError as error:
        raise LoadingError(
            f"The algorithm's module {module_name} cannot be imported: {error}.",
            f"Install the package that provides {error.name!r} where the workers run.",
        ) from error


def _check_version(info: AlgorithmInfo, path: str, code_version: str) -> None:
    actual = make_code_version(info.version, digest_file(path))
    if actual != code_version:
        raise LoadingError(
            f"The file {path} is not the one that was offered: version {code_version} was "
            f"planned, {actual} is on this machine.",
            "Restart the operator engine, so that it offers the present code, and run again.",
        )


def _find_arrow_inputs(info: AlgorithmInfo) -> tuple[bool, ...]:
    annotations: dict[str, Any] = getattr(info.function, "__annotations__", {})
    names = info.function.__code__.co_varnames[2 : 2 + len(info.inputs)]
    return tuple(_names_arrow(annotations.get(name)) for name in names)


def _names_arrow(annotation: Any) -> bool:
    text = annotation if isinstance(annotation, str) else str(annotation)
    return re.search(r"\b(pa|pyarrow)(\.lib)?\.Table\b", text) is not None
