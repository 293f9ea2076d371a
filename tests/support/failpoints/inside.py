"""The part that lives inside the processes of the service; see the package's description.

Only what an interpreter has anyway is imported at the top: this runs at the start of every process.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.failpoints import plans
from tests.support.failpoints.plans import Plan

PATCHES_VARIABLE = "DAGENGINE_FAILPOINT_PATCHES"
Change = Callable[[ModuleType, "Switchboard"], None]

_ROLES = {
    "dag_engine.api": "api",
    "dag_engine.scheduler": "scheduler",
    "operator_engine.main": "engine-main",
    "operator_engine.execution": "engine-execution",
    "operator_engine.monitor": "engine-monitor",
    "executors.local.supervisor": "executor-local",
    "dag_engine.cli": "launcher",
}


_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def find_role(arguments: Sequence[str]) -> str:
    """Tell which process this is, by the `-m` of its command line; empty for any other."""
    for option, module in itertools.pairwise(arguments):
        if option == "-m":
            return _ROLES.get(module, "")
    return ""


class Switchboard:
    """Counts the points that this role passes, and makes happen what is planned for them."""

    def __init__(self, folder: Path, role: str) -> None:
        self.folder = folder
        self.role = role
        self._seen: dict[str, tuple[tuple[int, int], Plan]] = {}
        self._chance = random.Random()
        os.register_at_fork(after_in_child=self._chance.seed)

    def plan(self, role: str = "") -> Plan:
        """The present plan of a role; read again when the file is another."""
        role = role or self.role
        path = plans.plan_path(self.folder, role)
        try:
            status = path.stat()
            mark = (status.st_ino, status.st_mtime_ns)
            known = self._seen.get(role)
            if known is None or known[0] != mark:
                self._seen[role] = known = (mark, Plan.decode(path.read_text()))
        except FileNotFoundError:
            return Plan()
        return known[1]

    def enter(self, name: str, role: str = "") -> int:
        """Pass a point; returns its number, 0 where nothing is planned."""
        role = role or self.role
        if self.plan(role).serial == 0:
            return 0
        with plans.locked(self.folder, role):
            path = plans.hits_path(self.folder, role)
            plans.append_line(path, name)
            number = path.read_bytes().count(b"\n")
        self._signal("before", number, name, role)
        return number

    def leave(self, number: int, name: str, role: str = "") -> None:
        """What belongs to a point is over."""
        if number:
            self._signal("after", number, name, role or self.role)

    def _signal(self, when: str, number: int, name: str, role: str) -> None:
        plan = self.plan(role)
        if plan.action in _SIGNALS and plan.when == when and number in plan.at:
            self.note(f"{when} {number} {name}", role)
            os.kill(os.getpid(), _SIGNALS[plan.action])

    def draws(self, action: str) -> bool:
        """Whether chance wants this fault now."""
        plan = self.plan()
        return plan.action == action and self._chance.random() < plan.rate

    def choose_code(self) -> int:
        return self._chance.choice(self.plan().codes)

    def choose_place(self, n_places: int) -> int:
        return self._chance.randrange(n_places)

    def note(self, line: str, role: str = "") -> None:
        """Write down that a fault happens, and when."""
        path = plans.fired_path(self.folder, role or self.role)
        plans.append_line(path, f"{time.time():.6f} {line}")


class _Changer(importlib.abc.MetaPathFinder):
    """Lets changes be made to a module right after it was imported."""

    def __init__(self, changes: dict[str, list[Change]], board: Switchboard) -> None:
        self._changes = changes
        self._board = board

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._changes:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert spec is not None, f"no module {fullname} to put failpoints into"
        assert spec.loader is not None
        changes, board = self._changes[fullname], self._board
        run_module = spec.loader.exec_module

        def run_and_change(module: ModuleType) -> None:
            run_module(module)
            for change in changes:
                change(module, board)

        spec.loader.exec_module = run_and_change
        return spec


def install(folder: str) -> None:
    """Prepare this process; does nothing in those that are no part of the service."""
    role = find_role(sys.orig_argv)
    if not role:
        return
    from tests.support.failpoints.patches import find_patches
    from tests.support.failpoints.points import points_of

    changes: dict[str, list[Change]] = {}
    for module, change in [
        *points_of(role),
        *find_patches(os.environ.get(PATCHES_VARIABLE, "").split(",")),
    ]:
        changes.setdefault(module, []).append(change)
    sys.meta_path.insert(0, _Changer(changes, Switchboard(Path(folder), role)))


def wrap(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a function or method by what `make` makes of it; it must be there."""
    setattr(owner, name, make(getattr(owner, name)))
