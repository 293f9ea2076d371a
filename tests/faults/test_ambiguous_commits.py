"""What a database may do to a transaction changes no result and reaches no client.

A commit that was carried out and told as broken off; a deadlock, a lock wait timeout, a changed
snapshot or a busy file in the place of a statement.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.closing_lines import Record, record_closing_lines
from tests.support.crash_rig import CrashRig, open_crash_rig
from tests.support.databases import DIALECTS
from tests.support.small_runs import SmallRuns
from tests.support.waiting import wait_until

RATE = 0.05
LOCK_TROUBLES = (1213, 1205, 1020)
N_FAULTS = [
    pytest.param({"ambiguous": 12, "error": 12}, id="some"),
    pytest.param({"ambiguous": 60, "error": 100}, id="many", marks=pytest.mark.long),
]
ROLES = ("api", "scheduler")


def has_happened(rig: CrashRig, load: SmallRuns, n_faults: int) -> bool:
    """Whether there were enough faults; fails as soon as a client sees one."""
    assert (load.unexpected, load.n_refused) == ([], 0), rig.service.describe()
    counts = [rig.points.count_fired(role) for role in ROLES]
    return sum(counts) >= n_faults and all(counts)


def run_with_faults(
    rig: CrashRig, action: str, n_faults: int, record_property: Record
) -> SmallRuns:
    """Let runs come in until there were so many faults, and at least one in each process."""
    for role in ROLES:
        rig.points.arm(role, action, rate=RATE, codes=LOCK_TROUBLES)
    with SmallRuns([rig.service.url], rig.ledger, n_threads=6) as load:
        wait_until(lambda: has_happened(rig, load, n_faults), 480, rig.service.describe)
    load.check(rig.service.url)
    fired = {role: rig.points.count_fired(role) for role in ROLES}
    line = f"{action}: {fired} faults, {len(load.accepted)} runs"
    record_closing_lines(record_property, line)
    assert load.count_extra_attempts() == 0
    return load


@pytest.mark.timeout(600)
@pytest.mark.parametrize("n_faults", N_FAULTS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_commit_that_went_through_and_was_told_as_broken_off_is_harmless(
    tmp_path: Path, dialect: str, n_faults: dict[str, int], record_property: Record
) -> None:
    with open_crash_rig(tmp_path, dialect) as rig:
        load = run_with_faults(rig, "ambiguous", n_faults["ambiguous"], record_property)
    assert rig.replayed.n_runs == len(load.asked), "a request made two runs"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("n_faults", N_FAULTS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_lock_trouble_reaches_no_client_and_loses_nothing(
    tmp_path: Path, dialect: str, n_faults: dict[str, int], record_property: Record
) -> None:
    with open_crash_rig(tmp_path, dialect) as rig:
        load = run_with_faults(rig, "error", n_faults["error"], record_property)
    assert rig.replayed.n_runs == len(load.asked)
