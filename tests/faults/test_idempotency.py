"""The same Idempotency-Key from 32 threads, while the processes that answer are killed: one run."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.chaos.cluster import find_children
from tests.support.crash_rig import CrashRig, open_crash_rig
from tests.support.databases import DIALECTS
from tests.support.small_runs import make_small_dag
from tests.support.waiting import wait_until

N_THREADS = 32
N_KEYS = [pytest.param(8, id="some"), pytest.param(40, id="many", marks=pytest.mark.long)]
KILL_EVERY_S = 1.0


def post(rig: CrashRig, key: str, name: str) -> tuple[int, dict[str, Any]] | None:
    """Post a run once, on a connection of its own: status and answer; None where none came."""
    body = json.dumps(make_small_dag(rig.ledger, name)).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    try:
        url = f"{rig.service.url}/api/v1/runs"
        reply = requests.post(url, data=body, headers=headers, timeout=10)
    except requests.RequestException:
        return None
    return None if reply.status_code == 503 else (reply.status_code, reply.json())


def insist(rig: CrashRig, key: str) -> str:
    """Post until the run is accepted; gives its id."""
    found = wait_until(lambda: post(rig, key, "small"), 60, "never answered")
    assert found is not None
    status, answer = found
    assert status == 202, answer
    return str(answer["id"])


@contextmanager
def workers_being_killed(rig: CrashRig) -> Iterator[list[int]]:
    """Kill one of the two API processes every second; gives those that were killed."""
    killed: list[int] = []
    stopped = threading.Event()

    def run() -> None:
        master = rig.service.find_pids()["api"]
        while not stopped.wait(KILL_EVERY_S):
            workers = find_children(master)
            if len(workers) > 1:
                killed.append(random.choice(workers))
                os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield killed
    finally:
        stopped.set()
        thread.join()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("n_keys", N_KEYS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_key_makes_one_run_however_often_and_wherever_it_comes(
    tmp_path: Path, dialect: str, n_keys: int
) -> None:
    keys = [secrets.token_hex(8) for _ in range(n_keys)]
    made: set[str] = set()
    with open_crash_rig(tmp_path, dialect) as rig, ThreadPoolExecutor(N_THREADS) as pool:
        with workers_being_killed(rig) as killed:
            for key in keys:
                told = set(pool.map(lambda _, key=key: insist(rig, key), range(N_THREADS)))
                assert len(told) == 1, f"{key} made {told}"
                made |= told
            wait_until(lambda: len(killed) >= 3, 30)
        for key in keys[:3]:
            other = wait_until(lambda key=key: post(rig, key, "another"), 30)
            assert other is not None
            assert other[0] == 422, other
        for run_id in made:
            assert rig.service.wait_for_run(run_id)["state"] == "succeeded"
    assert len(made) == n_keys
    assert rig.replayed.n_runs == n_keys, "there are runs that nobody was told of"
