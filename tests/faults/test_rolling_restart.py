"""Every process and every service is restarted in turn while small runs come in: no run fails."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.chaos.cluster import find_children
from tests.support.closing_lines import Record, record_closing_lines
from tests.support.databases import DIALECTS
from tests.support.pair_rig import Member, Pair, open_pair
from tests.support.small_runs import SmallRuns
from tests.support.waiting import wait_until

DAG_PROCESSES = ("api", "api worker", "scheduler")
ENGINE_PROCESSES = ("engine-main", "engine-execution", "engine-monitor", "executor-local")
BACK_WITHIN_S = 20.0


def restart_process(pair: Pair, member: Member, name: str) -> float:
    """Ask one process to end; returns the seconds until what started it has started another."""
    began = time.monotonic()
    if name == "api worker":
        master = member.pid("api")
        victim = find_children(master)[0]
        os.kill(victim, signal.SIGTERM)
        wait_until(lambda: victim not in find_children(master), 60, pair.describe)
    else:
        victim = member.service.kill(name, signal.SIGTERM)
        wait_until(lambda: member.pid(name) not in (0, victim), 60, pair.describe)
    pair.wait_whole()
    return time.monotonic() - began


def restart_service(pair: Pair, member: Member) -> float:
    """Stop a whole service in an orderly way and start it again; returns the seconds that took."""
    began = time.monotonic()
    assert member.service.stop() == 0, member.service.describe()
    member.service.check_nothing_left()
    member.start()
    pair.wait_whole()
    return time.monotonic() - began


def restart_everything(pair: Pair, load: SmallRuns) -> dict[str, float]:
    """Restart every process of one member of each kind, then every whole service."""
    times = {}
    leader, _ = pair.find_leader()
    for member, names in (
        (leader, DAG_PROCESSES),
        (pair.operator_engines[0], ENGINE_PROCESSES),
    ):
        for name in names:
            times[name] = restart_process(pair, member, name)
            load.wait_for_more(2)
    for member in [*pair.dag_engines, *pair.operator_engines]:
        times[member.home.name] = restart_service(pair, member)
        load.wait_for_more(2)
    return times


def check_rolling_restart(folder: Path, dialect: str, n_rounds: int) -> list[dict[str, float]]:
    with open_pair(folder, dialect, n_operator_engines=2) as pair:
        with SmallRuns(pair.urls, pair.ledger) as load:
            load.wait_for_more(3)
            rounds = [restart_everything(pair, load) for _ in range(n_rounds)]
        load.check(pair.urls[0])
    return rounds


@pytest.mark.timeout(300)
def test_no_run_fails_though_everything_is_restarted_in_turn(tmp_path: Path) -> None:
    check_rolling_restart(tmp_path, "sqlite", n_rounds=1)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_run_fails_though_everything_is_restarted_three_times(
    tmp_path: Path, dialect: str, record_property: Record
) -> None:
    rounds = check_rolling_restart(tmp_path, dialect, n_rounds=3)
    slowest = {name: max(times[name] for times in rounds) for name in rounds[0]}
    told = " ".join(f"{name}={took:.1f}" for name, took in slowest.items())
    record_closing_lines(record_property, f"rolling restart {dialect}: whole after s: {told}")
    assert max(slowest.values()) < BACK_WITHIN_S, slowest
