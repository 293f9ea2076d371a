"""Each process is killed before and after its 1st, 2nd, 3rd … commit, until a run is untouched.

What the operator engine's processes make durable or hand over counts as their commits. Whatever the
crash, the run ends as one that nothing disturbed: states, reasons, outputs and events; no attempt
is executed twice, and only a crash of the pool or of a worker explains another attempt.
"""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.closing_lines import Record, record_closing_lines
from tests.support.crash_rig import (
    ROLES,
    Crash,
    crash_everywhere,
    crash_here_and_there,
    open_crash_rig,
)
from tests.support.databases import DIALECTS

N_SERVICES = 3
SAMPLES = {"sqlite": (ROLES, 5), "mysql": (("api", "scheduler"), 4)}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_crash_at_some_points_changes_no_result(tmp_path: Path, dialect: str) -> None:
    roles, step = SAMPLES[dialect]
    with open_crash_rig(tmp_path, dialect) as rig:
        crashes = crash_here_and_there(rig, roles, step)
    assert {crash.role for crash in crashes if crash.fired} == set(roles)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_crash_before_and_after_every_point_changes_no_result(
    tmp_path: Path, dialect: str, record_property: Record
) -> None:
    crashes = crash_all_roles(tmp_path, dialect)
    record_closing_lines(record_property, describe(dialect, crashes))
    assert {crash.role for crash in crashes} == set(ROLES)


def crash_all_roles(folder: Path, dialect: str) -> list[Crash]:
    """Share the roles out over several services that crash side by side."""
    roles: queue.SimpleQueue[str] = queue.SimpleQueue()
    for role in ROLES:
        roles.put(role)
    crashes: list[Crash] = []
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with open_crash_rig(folder / str(number), dialect) as rig:
                while not failures and not roles.empty():
                    with suppress(queue.Empty):  # another was faster
                        crashes.extend(crash_everywhere(rig, roles.get_nowait()))
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(N_SERVICES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return crashes


def describe(dialect: str, crashes: list[Crash]) -> str:
    """How many crashes each role had, and how soon the run moved on."""
    lines = [f"crashes {dialect}: {len(crashes)}, no run of which differs"]
    for role in ROLES:
        times = sorted(
            crash.recovery_s
            for crash in crashes
            if crash.role == role and crash.recovery_s is not None
        )
        count = sum(crash.role == role for crash in crashes)
        if times:
            middle, late = times[len(times) // 2], times[int(len(times) * 0.99)]
            spread = f"p50={middle:.2f} p99={late:.2f} max={times[-1]:.2f}"
            lines.append(f"crashes {dialect} {role}: n={count} moved on after s: {spread}")
    return "\n".join(lines)
