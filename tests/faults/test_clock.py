"""Wall clocks that are wrong, jump and are set back and forth change no decision.

Hosts that disagree share a MariaDB server, whose clock leases go by. With SQLite there is one
host, whose clock jumps for everything at once, the database's own included.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support import crash_algorithms
from tests.support.length import IS_LONG
from tests.support.pair_rig import Pair, open_pair
from tests.support.services import put_algorithms, run_serve
from tests.support.small_runs import SmallRuns
from tests.support.waiting import wait_until
from tests.support.wrong_clock import WrongClock, make_clocks

TAKEN_OVER_WITHIN_S = 15.0
HOUR_S = 3600.0
STEPS_S = (HOUR_S, -HOUR_S, 0.0, -0.4, 0.4, HOUR_S, 0.0) if IS_LONG else (HOUR_S, -HOUR_S)
"""What the clock is set to, one after the other: an hour ahead, right, an hour behind …"""
DELAY_S, EARLIEST, LATEST = 2.0, 0.75, 1.25
TIMEOUT_S = 2.0
LATE_S = 8.0
"""What a retry or a timeout may be late on a busy machine."""


class Waits:
    """A run with a retry and one with a timeout, measured by a clock that is right."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        folder.mkdir()
        self._retry_ledger, self._hang_ledger = folder / "retry", folder / "hang"
        run = {"retries": 1, "retry_on": ["error"], "retry_delay_s": DELAY_S}
        self._retry = self._post("fail_first", self._retry_ledger, run)
        self._hang = self._post("hang", self._hang_ledger, {"timeout_s": TIMEOUT_S})
        self._retry_from = self._wait_for(self._retry_ledger, 1)
        self._hang_from = self._wait_for(self._hang_ledger, 1)

    def check(self) -> None:
        """Neither is early, and neither late by more than a busy machine makes it."""
        wait_until(lambda: self._read(self._hang)["state"] == "failed", 30, "it hangs on")
        ended_s = time.time() - self._hang_from
        assert TIMEOUT_S - 0.1 <= ended_s <= TIMEOUT_S + LATE_S, f"timed out after {ended_s}"
        task = self._read(f"{self._hang}/tasks/a")
        assert (task["reason"], task["attempt"]) == ("timeout", 1), task
        retried_s = self._wait_for(self._retry_ledger, 2) - self._retry_from
        assert EARLIEST * DELAY_S <= retried_s <= LATEST * DELAY_S + LATE_S, retried_s
        wait_until(lambda: self._read(self._retry)["state"] == "succeeded", 30, "it never ends")

    def _post(self, behaviour: str, ledger: Path, run: dict[str, Any]) -> str:
        params = {"ledger": str(ledger), "value": 1, "behaviour": behaviour}
        details = {"a": {"algo_name": "crash_step", "params": params, "run": run}}
        dag = {"operator_list": ["a"], "operator_rels": {}, "operator_details": details}
        reply = requests.post(f"{self._url}/api/v1/runs", json={"dag": dag}, timeout=30)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    def _read(self, path: str) -> dict[str, Any]:
        reply = requests.get(f"{self._url}/api/v1/runs/{path}", timeout=30)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def _wait_for(self, ledger: Path, attempt: int) -> float:
        """Wait until an attempt has begun; gives the moment by the kernel's clock."""
        wait_until(
            lambda: ledger.exists() and len(ledger.read_text().splitlines()) >= attempt,
            30,
            f"attempt {attempt} never began",
        )
        return ledger.stat().st_mtime


def check_events(url: str, run_ids: list[str]) -> None:
    """Events of a run are in sequence without a gap, whatever their moments say."""
    for run_id in run_ids:
        reply = requests.get(
            f"{url}/api/v1/runs/{run_id}/events", params={"limit": 500}, timeout=30
        )
        seqs = [event["seq"] for event in reply.json()["items"]]
        assert seqs == list(range(1, len(seqs) + 1)), seqs


def check_listing(url: str, run_ids: set[str]) -> None:
    """Page by page every run is listed once."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = requests.get(f"{url}/api/v1/runs", params={"limit": 20, **cursor}, timeout=30).json()
        found += [item["id"] for item in page["items"]]
        if not page["next_cursor"]:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(found) == len(set(found))
    assert run_ids <= set(found)


def jump(
    clocks: list[WrongClock], offsets_s: list[float], load: SmallRuns, url: str, folder: Path
) -> None:
    """Set clocks while an attempt waits and another runs against its timeout."""
    waits = Waits(url, folder)
    for clock, offset_s in zip(clocks, offsets_s, strict=True):
        clock.set(offset_s)
    waits.check()
    load.wait_for_more(5)


def make_algorithms(folder: Path) -> tuple[str, ...]:
    """Make the folder of the tests' algorithm; gives the arguments that name it."""
    return ("--algorithms", str(put_algorithms(folder / "algorithms", crash_algorithms)))


@pytest.mark.timeout(180)
def test_the_clock_of_one_host_jumps(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.txt"
    (clock,) = make_clocks(tmp_path, 1)
    arguments = make_algorithms(tmp_path)
    with run_serve(tmp_path / "home", *arguments, env=clock.environment) as service:
        with SmallRuns([service.url], ledger) as load:
            load.wait_for_more(3)
            for i, offset_s in enumerate(STEPS_S):
                jump([clock], [offset_s], load, service.url, tmp_path / f"waits_{i}")
        load.check(service.url)
        assert load.count_extra_attempts() == 0
        # It looks at its clocks every few seconds.
        wait_until(
            lambda: "dagengine_clock_jumps_total 0" not in service.call("GET", "/metrics").text,
            15,
            "no jump was noticed",
        )
        check_events(service.url, list(load.accepted.values()))
        check_listing(service.url, set(load.accepted.values()))


@pytest.mark.timeout(180)
@pytest.mark.long
def test_the_clock_of_one_host_jumps_below_a_standby(tmp_path: Path) -> None:
    (clock,) = make_clocks(tmp_path, 1)
    with open_pair(tmp_path, "sqlite", env=[clock.environment] * 3) as pair:
        # Set forward, it ends every lease at once: where the standby looks just then, it leads.
        _jump_with_a_pair(pair, [clock], [[HOUR_S], [-HOUR_S], [0.0]], n_takeovers=1)


@pytest.mark.timeout(180)
@pytest.mark.long
@pytest.mark.mysql
def test_hosts_disagree(tmp_path: Path) -> None:
    clocks = make_clocks(tmp_path, 3)
    with open_pair(tmp_path, "mysql", env=[clock.environment for clock in clocks]) as pair:
        steps = [
            [HOUR_S, -HOUR_S, 0.0],
            [-HOUR_S, HOUR_S, HOUR_S],
            [0.4, -0.4, -HOUR_S],
            [-HOUR_S, HOUR_S, HOUR_S],
        ]
        _jump_with_a_pair(pair, clocks, steps)


def _jump_with_a_pair(
    pair: Pair, clocks: list[WrongClock], steps: list[list[float]], n_takeovers: int = 0
) -> None:
    """Set the clocks, step by step; then the leader is killed while they are as they are.

    Each step may change the leader so many times.
    """
    with SmallRuns(pair.urls, pair.ledger) as load:
        load.wait_for_more(3)
        for i, offsets_s in enumerate(steps):
            epoch, _ = pair.read_leader()
            leader, _ = pair.find_leader()
            jump(clocks, offsets_s, load, leader.url, pair.folder / f"waits_{i}")
            assert pair.read_leader()[0] - epoch <= n_takeovers, f"who leads: {offsets_s}"
        leader, standby = pair.find_leader()
        began = time.monotonic()
        leader.kill()
        wait_until(lambda: pair.is_leading(standby), 60, pair.describe)
        assert time.monotonic() - began < TAKEN_OVER_WITHIN_S
        load.wait_for_more(5)
        leader.start()
        pair.wait_whole()
    load.check(standby.url)
    assert load.count_extra_attempts() == 0
    check_events(standby.url, list(load.accepted.values()))
    check_listing(standby.url, set(load.accepted.values()))
