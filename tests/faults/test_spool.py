"""Finished work that could not be reported yet is reported later, and not done again."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import ledger_algorithm
from tests.support.length import IS_LONG
from tests.support.ports import find_free_port
from tests.support.services import (
    RunningService,
    put_algorithms,
    run_dag_engine,
    run_operator_engine,
)
from tests.support.tcp_proxy import TcpProxy, open_proxy
from tests.support.waiting import wait_until

N_ROUNDS = 20 if IS_LONG else 5
N_RUNS = 5
VICTIMS = (
    ("engine-main",),
    ("engine-monitor",),
    ("engine-execution",),
    ("executor-local",),
    ("engine-main", "engine-execution", "engine-monitor", "executor-local"),
)


@dataclass(slots=True)
class Site:
    """A dag engine, an operator engine, and the ways from the second to the first."""

    dag_engine: RunningService
    engine: RunningService
    ways: list[TcpProxy]
    ledger: Path

    def count_lines(self, what: str) -> Counter[str]:
        """Count what the operators wrote down, by run."""
        if not self.ledger.exists():
            return Counter()
        lines = map(json.loads, self.ledger.read_text().splitlines())
        return Counter(line["line"] for line in lines if line["what"] == what)


@contextmanager
def _run_site(folder: Path) -> Iterator[Site]:
    algorithms = put_algorithms(folder / "algorithms", ledger_algorithm)
    api_port, scheduler_port = find_free_port(), find_free_port()
    # The engine must not be given up while it is cut off: here it is about its spool.
    leases = {"DAGENGINE__SCHEDULER__ENGINE_LEASE_S": "120"}
    with (
        open_proxy("127.0.0.1", api_port) as to_api,
        open_proxy("127.0.0.1", scheduler_port) as to_scheduler,
    ):
        env = leases | {
            "DAGENGINE__SCHEDULER__PORT": str(scheduler_port),
            "DAGENGINE__SCHEDULER__ADVERTISE_URL": f"http://127.0.0.1:{to_scheduler.port}",
        }
        with run_dag_engine(folder / "dag", "--port", str(api_port), env=env) as dag_engine:
            direct, dag_engine.url = dag_engine.url, f"http://127.0.0.1:{to_api.port}"
            arguments = ("--algorithms", str(algorithms), "--slots", str(N_RUNS))
            with run_operator_engine(folder / "engine", dag_engine, *arguments) as engine:
                dag_engine.url = direct
                yield Site(dag_engine, engine, [to_api, to_scheduler], folder / "ledger.jsonl")


def _start_run(site: Site, name: str) -> str:
    params = {"ledger": str(site.ledger), "line": name, "is_detailed": True, "seconds": 0.3}
    dag = {
        "name": name,
        "operator_list": ["a"],
        "operator_rels": {"a": []},
        "operator_details": {"a": {"algo_name": "write_ledger", "params": params}},
    }
    return str(site.dag_engine.post("/api/v1/runs", json={"dag": dag}, status=202)["id"])


@pytest.mark.timeout(900)
def test_finished_work_survives_the_death_of_every_process_of_its_engine(tmp_path: Path) -> None:
    with _run_site(tmp_path) as site:
        for number in range(N_ROUNDS):
            _let_finish_and_kill(site, number, VICTIMS[number % len(VICTIMS)])
        _check_done_once(site, N_ROUNDS * N_RUNS)


def _let_finish_and_kill(site: Site, number: int, victims: tuple[str, ...]) -> None:
    """Let operators finish while nobody can be told of it, kill, and let it be told."""
    names = [f"{number}-{place}" for place in range(N_RUNS)]
    run_ids = [_start_run(site, name) for name in names]
    wait_until(lambda: all(name in site.count_lines("start") for name in names), 30)
    for way in site.ways:
        way.cut()
    wait_until(lambda: all(name in site.count_lines("end") for name in names), 30)
    # The last line of the ledger stands before the end of the attempt by a moment.
    wait_until(lambda: _count_spooled(site, run_ids) == N_RUNS, 30, site.engine.describe)
    for victim in victims:
        site.engine.kill(victim, signal.SIGKILL)
    for way in site.ways:
        way.mend()
    for run_id in run_ids:
        run = site.dag_engine.wait_for_run(run_id, 60)
        assert run["state"] == "succeeded", (victims, run)


def _count_spooled(site: Site, run_ids: list[str]) -> int:
    """Count the ends that stand in the journal of the pool, or were reported before the cut."""
    spool = site.engine.home / "spool" / "local.journal"
    spooled = set()
    for text in spool.read_bytes().splitlines():
        line = json.loads(text)
        if line["k"] == "ended":
            spooled.add(line["id"].partition(".")[0])
    return len(spooled & set(run_ids))


def _check_done_once(site: Site, n_runs: int) -> None:
    executed = site.count_lines("start")
    assert len(executed) == n_runs
    assert set(executed.values()) == {1}, executed.most_common(5)
