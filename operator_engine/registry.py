"""Makes executors from the configuration; a back end is imported only when it is made."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from executors.base import BaseExecutor
from operator_engine.errors import ExecutorLoadError
from operator_engine.settings import EngineSettings, ExecutorEntry

ENTRY_POINT_GROUP = "dagengine.executors"

# Reading the entry points of all installed packages takes tens of milliseconds.
_OWN_CLASSES = {"local": "executors.local.client:LocalExecutor"}


def find_class_path(entry: ExecutorEntry) -> str:
    """Return `module:Class` of a configured executor: its own, or that of the entry point."""
    if entry.class_path:
        return entry.class_path
    if entry.name in _OWN_CLASSES:
        return _OWN_CLASSES[entry.name]
    from importlib.metadata import entry_points

    found = entry_points(group=ENTRY_POINT_GROUP)
    for point in found:
        if point.name == entry.name:
            return point.value
    known = ", ".join(sorted({*_OWN_CLASSES, *(point.name for point in found)}))
    raise ExecutorLoadError(
        entry.name,
        f"no installed package offers an executor of this name (there are: {known}). Set "
        f"`executors.{entry.name}.class` to `package.module:Class`, or install the package.",
    )


def load_executor_class(entry: ExecutorEntry) -> type[BaseExecutor]:
    """Import the class of a configured executor. Raises `ExecutorLoadError`."""
    class_path = find_class_path(entry)
    module_name, _, class_name = class_path.partition(":")
    if not module_name or not class_name:
        raise ExecutorLoadError(
            entry.name, f"`class` must be `package.module:Class`, not {class_path!r}."
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ExecutorLoadError(
            entry.name, f"{module_name!r} cannot be imported: {error}. Is its package installed?"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ExecutorLoadError(
            entry.name, f"the module {module_name!r} has no class {class_name!r}."
        )
    if not (isinstance(found, type) and issubclass(found, BaseExecutor)):
        raise ExecutorLoadError(
            entry.name, f"{class_path!r} does not derive from `executors.base.BaseExecutor`."
        )
    return found


def make_executor(entry: ExecutorEntry, settings: EngineSettings) -> BaseExecutor:
    """Make a client of a configured executor. Raises `ExecutorLoadError`."""
    make: Callable[..., BaseExecutor] = load_executor_class(entry)
    return make(entry.name, dict(entry.options), settings.for_executor(entry))
