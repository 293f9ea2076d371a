"""The test's side of the failpoints: arming, disarming, and reading what happened."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tests.support.failpoints import plans
from tests.support.failpoints.inside import PATCHES_VARIABLE
from tests.support.failpoints.patches import PATCHES
from tests.support.failpoints.plans import Plan

_START = Path(__file__).with_name("start")


class FailpointFolder:
    """What the failpoints of one service do, by role; a role that is not armed does nothing."""

    def __init__(self, folder: Path, patches: Iterable[str] = ()) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._patches = list(patches)
        assert set(self._patches) <= PATCHES.keys()
        self._serial = 0

    def environment(self) -> dict[str, str]:
        """What a service must be started with."""
        return {
            "PYTHONPATH": str(_START),
            "DAGENGINE_FAILPOINTS": str(self.folder),
            PATCHES_VARIABLE: ",".join(self._patches),
        }

    def arm(
        self,
        role: str,
        action: str,
        *,
        when: str = "before",
        at: Iterable[int] = (),
        rate: float = 0.0,
        codes: Iterable[int] = (),
    ) -> None:
        """Say what shall happen from now on; counting begins anew."""
        self._serial += 1
        plan = Plan(action, when, tuple(at), rate, tuple(codes), self._serial)
        with plans.locked(self.folder, role):
            for path in (self._hits(role), self._fired(role)):
                path.unlink(missing_ok=True)
            self._write(role, plan)

    def disarm(self, role: str) -> None:
        """Let nothing happen any more; what did can still be read."""
        with plans.locked(self.folder, role):
            self._write(role, Plan())

    def hits(self, role: str) -> list[str]:
        """The points that were passed since the role was armed."""
        return _read_lines(self._hits(role))

    def fired(self, role: str) -> list[str]:
        """The faults that happened since the role was armed."""
        return _read_lines(self._fired(role))

    def count_fired(self, role: str) -> int:
        """How many faults happened since the role was armed."""
        return len(self.fired(role))

    def _hits(self, role: str) -> Path:
        return plans.hits_path(self.folder, role)

    def _fired(self, role: str) -> Path:
        return plans.fired_path(self.folder, role)

    def _write(self, role: str, plan: Plan) -> None:
        path = plans.plan_path(self.folder, role)
        new = path.with_suffix(".new")
        new.write_text(plan.encode())
        os.replace(new, path)


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []
