"""Writes down when the steps of a task's way begin, in every process that starts with it.

Python imports a module of this name at its start where `PYTHONPATH` has its folder. Nothing of the
service knows of it: what is to be seen is wrapped once its module is imported; what is run as
`__main__` is not. A line is written for each step, about 3 µs each:
`<monotonic ns> <name of the step>`.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_FILE = os.environ.get("HOP_PROBE_FILE", "")

# Where a step begins, by module: the function, and the name; with `end=`, that of where it ends.
_BEGINS = {
    "executors.local.worker": [("Worker._run_task", "work", "worked")],
    "executors.local.book": [
        ("AttemptBook.end_as_told", "pool_hears_end", ""),
        ("AttemptBook.accept", "pool_takes", ""),
    ],
    "executors.local.desk": [("Desk.tell", "pool_tells", "")],
    "executors.local.pool": [("WorkerPool.give", "pool_gives", "")],
    "executors.local.client": [("LocalExecutor.submit_some", "executor_submits", "")],
    "operator_engine.reporter": [
        ("Reporter.hear_executor", "monitor_hears", ""),
        ("Reporter._encode", "reporter_encodes", "reporter_posts"),
    ],
    "operator_engine.front": [("Front.handle", "main_takes", "")],
    "operator_engine.desk": [("_send", "main_sends", "")],
    "operator_engine.lane": [
        ("Lane.put", "execution_hears", ""),
        ("Lane._submit", "lane_takes", ""),
    ],
    "dag_engine.scheduler.http": [("SchedulerServer.handle", "scheduler_hears", "")],
    "dag_engine.scheduler.reign": [("Reign.round", "round_begins", "")],
    "dag_engine.scheduler.figures": [("Figures.commit", "commit_begins", "commit_ends")],
    "dag_engine.scheduler.sender": [
        ("EngineSender._cut", "sender_encodes", "sender_posts"),
    ],
}


class _Sheet:
    """The file that all processes append to; each opens it for itself."""

    def __init__(self) -> None:
        self._fd = -1
        self._pid = 0

    def note(self, step: str) -> None:
        now = time.monotonic_ns()
        if self._pid != os.getpid():  # forked, with descriptors that may mean something else
            self._pid = os.getpid()
            self._fd = os.open(_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(self._fd, f"{now} {step}\n".encode())


def _wrap(function: Callable[..., Any], begin: str, end: str, sheet: _Sheet) -> Callable[..., Any]:
    @functools.wraps(function)
    def stepped(*args: Any, **kwargs: Any) -> Any:
        sheet.note(begin)
        result = function(*args, **kwargs)
        if end:
            sheet.note(end)
        return result

    return stepped


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the others find a module, and wraps its functions once it has been executed."""

    def __init__(self) -> None:
        self._sheet = _Sheet()
        self._busy: defaultdict[str, bool] = defaultdict(bool)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if name not in _BEGINS or self._busy[name]:
            return None
        self._busy[name] = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._busy[name] = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                for place, begin, end in _BEGINS[name]:
                    self._wrap_in(module, place, begin, end)

            spec.loader.exec_module = exec_module
        return spec

    def _wrap_in(self, module: ModuleType, place: str, begin: str, end: str) -> None:
        holder: Any = module
        *outer, last = place.split(".")
        for part in outer:
            holder = getattr(holder, part, None)
        # One that is gone leaves a gap, which the benchmark tells; the service is to go on.
        if hasattr(holder, last):
            setattr(holder, last, _wrap(getattr(holder, last), begin, end, self._sheet))


if _FILE:
    sys.meta_path.insert(0, _Finder())
