"""A service with a pool of four, in which a poisonous operator runs beside three innocent ones."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executors.base import ExecutorSettings
from executors.contract_tools import Ledger, is_alive
from executors.local.client import LocalExecutor
from tests.support import fault_operators
from tests.support.length import IS_LONG
from tests.support.services import RunningService, run_serve
from tests.support.waiting import wait_until

N_WORKERS = 4
N_INNOCENTS = N_WORKERS - 1
LOG_LIMIT_BYTES = 1024 * 1024
MAX_PROCESSES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Poison:
    """An operator that misbehaves, and how that is to end.

    `state` and `reason` are those of the task, `attempts` the reasons of its attempts, in order.
    `noticed_s`: within how many seconds after its deed (the last line that it wrote) its last
    attempt has ended, or where it `is_crowd`, which takes its time to die, is being killed.
    """

    operator: str
    reason: str
    state: str = "failed"
    attempts: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    noticed_s: float = 1.0
    said: str = ""
    is_crowd: bool = False

    @property
    def expected_attempts(self) -> tuple[str, ...]:
        return self.attempts or ("" if self.state == "succeeded" else self.reason,)


class Ward:
    """Runs poison after poison in one service, and looks after the innocent."""

    def __init__(self, service: RunningService, folder: Path) -> None:
        self.service = service
        self._folder = folder
        self._n_runs = 0
        self._rest = 0
        settings = ExecutorSettings(home=str(service.home), logs="", store_url="")
        self._pool = LocalExecutor("local", {}, settings)

    def close(self) -> None:
        self._pool.close()

    def give(self, poison: Poison) -> str:
        """Let a poison run among innocents, check what everybody may expect; gives its run.

        The short form runs beside other tests, so one that was noticed late is given once more:
        what is slow is late again, a machine that gave no turn for a moment is not.
        """
        run_id, late_s = self._give_once(poison)
        if late_s >= poison.noticed_s and not IS_LONG:
            run_id, late_s = self._give_once(poison)
        assert late_s < poison.noticed_s, f"{poison.operator}: seen {late_s:.2f} s after the deed"
        return run_id

    def _give_once(self, poison: Poison) -> tuple[str, float]:
        """Give a poison; gives its run, and how late it was noticed."""
        self._n_runs += 1
        folder = self._folder / f"{self._n_runs}"
        folder.mkdir()
        gate, beside = folder / "gate", Ledger(folder / "beside")
        innocents = self.post_innocents(N_INNOCENTS, gate, beside)
        wait_until(lambda: len(beside.entries()) == N_INNOCENTS, 20, self.service.describe)
        ledger = Ledger(folder / "ledger")
        run_id = self.post(
            {"poison": (poison.operator, {**poison.params, "ledger": str(ledger.path)}, poison.run)}
        )
        task = self.wait_for_end(run_id, poison)
        self.check_slot_is_free(folder)
        self._check_tree_is_dead(ledger)
        gate.touch()
        self.check_untouched(innocents)
        return run_id, self._measure_notice(poison, task, ledger)

    def wait_for_end(self, run_id: str, poison: Poison) -> dict[str, Any]:
        """Wait for the end of a poison's run; it must bear its right name."""
        self.service.wait_for_run(run_id, 60)
        task: dict[str, Any] = self.service.get(f"/api/v1/runs/{run_id}/tasks/poison")
        found = (task["state"], task["reason"])
        assert found == (poison.state, poison.reason), (poison, task)
        reasons = tuple(attempt["reason"] for attempt in task["attempts"])
        assert reasons == poison.expected_attempts, (poison, task)
        said = task["message"]
        assert poison.said in said, (poison, said)
        return task

    def check_slot_is_free(self, folder: Path) -> None:
        """An innocent that the poison's slot alone can take succeeds within two seconds."""
        began = time.monotonic()
        (follower,) = self.post_innocents(1, folder / "follower", Ledger(folder / "following"))
        (folder / "follower").touch()
        self.service.wait_for_run(follower, 20)
        took_s = time.monotonic() - began
        assert took_s < 2.0, f"the slot was free again after {took_s:.1f} s only"
        self.check_untouched([follower])

    def _check_tree_is_dead(self, ledger: Ledger) -> None:
        """Whoever wrote a line is dead, unless it is a worker that serves on."""
        pids = {pid for _, pid in ledger.entries()} - self.find_workers()
        wait_until(
            lambda: not any(map(is_alive, pids)),
            2,
            lambda: f"live on: {set(filter(is_alive, pids))}",
        )
        wait_until(
            lambda: self.count_processes() <= self._rest,
            5,
            lambda: f"{self.service.find_processes()}",
        )

    def check_untouched(self, run_ids: list[str]) -> None:
        """Innocents succeed, each at its first attempt."""
        for run_id in run_ids:
            assert self.service.wait_for_run(run_id)["state"] == "succeeded"
            for task in self.service.get(f"/api/v1/runs/{run_id}/tasks")["items"]:
                assert task["attempt"] == 1, task

    def _measure_notice(self, poison: Poison, task: dict[str, Any], ledger: Ledger) -> float:
        """Tell how long after the deed, which is when the ledger was written last, it was noticed;
        in seconds.
        """
        noticed_at = _moment(task["attempts"][-1]["ended_at"])
        if poison.is_crowd:
            noticed_at = self._find_notice()
            if not ledger.path.exists():  # it was killed before it could write that it had grown up
                return 0.0
        return noticed_at - os.stat(ledger.path).st_mtime

    def _find_notice(self) -> float:
        """When the supervisor last said of an attempt that it is over its limit."""
        log = self.service.home / "logs" / "services" / "executor-local.log"
        said = [line for line in log.read_text().splitlines() if "attempt_over_limit" in line]
        return dt.datetime.fromisoformat(said[-1][:23].replace(",", ".")).timestamp()

    # --- processes --------------------------------------------------------------------------------

    def settle(self) -> None:
        """Wait until the pool is warm, and remember how many processes that makes."""

        def is_warm() -> bool:
            workers = self._pool.status()["workers"]
            n_idle = sum(worker["stage"] == "idle" for worker in workers)
            return n_idle == N_WORKERS and all(worker["is_preloaded"] for worker in workers)

        wait_until(is_warm, 40, self.service.describe)
        self._rest = self.count_processes()

    def count_processes(self) -> int:
        return len(self.service.find_processes())

    def find_workers(self) -> set[int]:
        """Process ids of the pool's workers, as its supervisor knows them."""
        return {worker["pid"] for worker in self._pool.status()["workers"]}

    # --- runs -------------------------------------------------------------------------------------

    def post_innocents(self, n: int, gate: Path, ledger: Ledger) -> list[str]:
        params = {"gate": str(gate), "ledger": str(ledger.path)}
        return [self.post({"innocent": ("ok", params, {})}) for _ in range(n)]

    def post(
        self, operators: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]]
    ) -> str:
        """Start a run of operators that depend on nothing; gives its id."""
        details = {
            name: {"algo_name": algorithm, "params": dict(params), "run": dict(run)}
            for name, (algorithm, params, run) in operators.items()
        }
        dag = {
            "operator_list": list(operators),
            "operator_rels": {},
            "operator_details": details,
        }
        reply = self.service.post(
            "/api/v1/runs",
            data=json.dumps({"dag": dag}),
            headers={"Content-Type": "application/json"},
            status=202,
        )
        return str(reply["id"])


@contextlib.contextmanager
def open_ward(folder: Path, **options: Any) -> Iterator[Ward]:
    """Run a service with a pool of four, whose local executor has these options besides."""
    algorithms = folder / "algorithms"
    algorithms.mkdir()
    (algorithms / "faults.py").symlink_to(fault_operators.__file__)
    chosen = {
        "workers": N_WORKERS,
        "log_limit_bytes": LOG_LIMIT_BYTES,
        "max_processes": MAX_PROCESSES,
        **options,
    }
    env = {"DAGENGINE__EXECUTORS__LOCAL__OPTIONS": json.dumps(chosen)}
    with (
        run_serve(folder / "home", "--algorithms", str(algorithms), env=env) as service,
        contextlib.closing(Ward(service, folder)) as ward,
    ):
        ward.settle()
        yield ward


def _moment(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()
