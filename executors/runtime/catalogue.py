"""`python -m executors.runtime.catalogue FOLDER…`: find all algorithms and print what they offer.

Algorithms are found in the package `algorithms`, in modules or packages named by the entry-point
group `dagengine.algorithms`, and in every `*.py` of the folders given. The result is one JSON
object: `offers`, `files` (what was looked at, with digests) and `problems`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from executors.base import AlgorithmOffer, PortSpec
from executors.catalogue import Listing
from executors.runtime.loading import digest_file, load_source, make_code_version
from executors.runtime.parameters import list_deprecated

if TYPE_CHECKING:
    from algorithms.base import AlgorithmInfo, Port

ENTRY_POINT_GROUP = "dagengine.algorithms"
BUILT_IN_PACKAGE = "algorithms"


def make_listing(algorithm_paths: Iterable[str], packages: Iterable[str] = ()) -> Listing:
    """Import every algorithm that can be found and return what they offer.

    A file that cannot be imported, or two algorithms of one name, is a problem that names the
    files; the rest is listed nevertheless.
    """
    collector = _Collector()
    for name in packages or _list_packages():
        collector.add_package(name)
    for folder in algorithm_paths:
        collector.add_folder(Path(folder))
    return Listing(
        offers=sorted(collector.offers.values(), key=lambda offer: offer.name),
        files=collector.files,
        problems=collector.problems,
    )


def describe_algorithm(info: AlgorithmInfo, entry: str, path: str) -> AlgorithmOffer:
    """Return an algorithm as an operator engine announces it."""
    return AlgorithmOffer(
        name=info.name,
        entry=entry,
        version=info.version,
        code_version=make_code_version(info.version, digest_file(path)),
        family=info.family,
        title=info.title,
        title_zh=info.title_zh or info.title,
        doc=inspect.getdoc(info.function) or "",
        inputs=[_describe_port(port) for port in info.inputs],
        outputs=[_describe_port(port) for port in info.outputs],
        params_schema=make_schema(info),
        deprecated_params=list(list_deprecated(info.params)),
        is_cacheable=info.is_cacheable,
        source=path,
    )


def make_schema(info: AlgorithmInfo) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an algorithm's parameters.

    Unknown parameters are refused unless the model allows them expressly, as in the worker.
    """
    schema = info.params.model_json_schema()
    schema.setdefault("$schema", "https://json-schema.org/draft/2020-12/schema")
    if info.params.model_config.get("extra") != "allow":
        schema["additionalProperties"] = False
    return schema


def find_algorithms(module: ModuleType) -> Iterator[tuple[str, AlgorithmInfo]]:
    """Yield the algorithms that a module itself defines, with the names of their functions."""
    from algorithms.base import AlgorithmInfo

    for name, value in list(vars(module).items()):
        info = getattr(value, "algorithm", None)
        if isinstance(info, AlgorithmInfo) and value.__module__ == module.__name__:
            yield name, info


def _describe_port(port: Port) -> PortSpec:
    return PortSpec(name=port.name, type=port.type, is_optional=port.optional, is_many=port.many)


def _list_packages() -> list[str]:
    found = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return list(dict.fromkeys([BUILT_IN_PACKAGE, *sorted(point.value for point in found)]))


class _Collector:
    """Gathers offers, the files that they come from, and what went wrong."""

    def __init__(self) -> None:
        self.offers: dict[str, AlgorithmOffer] = {}
        self.files: dict[str, str] = {}
        self.problems: list[str] = []

    def add_package(self, name: str) -> None:
        """Add a module, or a package with all modules below it."""
        module = self._import(name)
        if module is None:
            return
        self._add_module(module, f"{module.__name__}:")
        for folder in getattr(module, "__path__", []):
            for found in pkgutil.iter_modules([folder]):
                self.add_package(f"{name}.{found.name}")

    def add_folder(self, folder: Path) -> None:
        """Add every file of a folder."""
        if not folder.is_dir():
            self.problems.append(f"The folder of algorithms {folder} does not exist.")
            return
        for path in sorted(folder.resolve().glob("*.py")):
            self.files[str(path)] = digest_file(path)
            try:
                module = load_source(str(path))
            except Exception as error:  # noqa: BLE001 - user code; it is told by file and line
                self.problems.append(_describe_error(str(path), error))
            else:
                self._add_module(module, f"{path}:")

    def _import(self, name: str) -> ModuleType | None:
        try:
            return importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - user code; it is told by file and line
            spec_path = _find_path(name)
            if spec_path:
                self.files[spec_path] = digest_file(spec_path)
            self.problems.append(_describe_error(spec_path or name, error))
            return None

    def _add_module(self, module: ModuleType, prefix: str) -> None:
        path = os.path.abspath(str(module.__file__)) if module.__file__ else ""
        if path:
            self.files[path] = digest_file(path)
        for function_name, info in find_algorithms(module):
            known = self.offers.get(info.name)
            if known is not None:
                self.problems.append(
                    f"Two algorithms are named {info.name!r}: one in {known.source}, one in {path}."
                )
                continue
            self.offers[info.name] = describe_algorithm(info, prefix + function_name, path)


def _find_path(name: str) -> str:
    """Return the file of a module that could not be imported."""
    parent, _, leaf = name.rpartition(".")
    for folder in getattr(sys.modules.get(parent), "__path__", []):
        for candidate in (Path(folder, f"{leaf}.py"), Path(folder, leaf, "__init__.py")):
            if candidate.is_file():
                return os.path.abspath(candidate)
    return ""


def _describe_error(path: str, error: Exception) -> str:
    """Name the file and line of an import error, and what it says."""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}, line {error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == path]
        last = own[-1] if own else None
        place = f"{path}, line {last.lineno}" if last else path
    return f"{place}: {type(error).__name__}: {error}"


def main() -> None:
    """Print the listing for the folders on the command line."""
    # Whatever the algorithms print while they are imported must not mix with the result.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with output:
        output.write(msgspec.json.encode(make_listing(sys.argv[1:])))


if __name__ == "__main__":
    main()
