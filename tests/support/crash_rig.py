"""One service that is made to crash again and again, and what a run looks like after each crash."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from dag_engine.config import DatabaseConfig
from dag_engine.storage.database import Database
from tests.support import crash_algorithms
from tests.support.databases import fresh_mysql_url, sqlite_url
from tests.support.failpoints.control import FailpointFolder
from tests.support.services import RunningService, dagengine, put_algorithms, run_serve
from tests.support.stored_replay import Replayed, replay_database
from tests.support.waiting import wait_until

FINAL = ("succeeded", "failed", "cancelled")
ROLES = (
    "api",
    "scheduler",
    "engine-main",
    "engine-execution",
    "engine-monitor",
    "executor-local",
    "worker",
)
INFRASTRUCTURE = ("lost", "killed")

_OPERATORS: dict[str, dict[str, Any]] = {
    "source": {"value": 1, "behaviour": "add_much"},
    "left": {"value": 10},
    "right": {"value": 100},
    "flaky": {"value": 1000, "behaviour": "fail_first"},
    "join": {"value": 10_000},
    "good": {"value": 3},
    "spare": {"value": 4},
    "broken": {"behaviour": "fail"},
    "below": {},
    "stuck": {"behaviour": "hang"},
}
_EDGES = {
    "source": ("left", "right", "flaky", "good", "spare"),
    "left": ("join",),
    "right": ("join",),
    "flaky": ("join",),
    "broken": ("below",),
}
_RUN_SECTIONS = {
    "flaky": {"retries": 1, "retry_on": ["error"], "retry_delay_s": 0.05},
    "good": {"on_failure": "spare"},
}
CANCELLED = "stuck"
# Worked out by hand: source 1, left 11, right 101, flaky 1001, and join adds them to its own.
TOTALS = {"source": 1, "left": 11, "right": 101, "flaky": 1001, "join": 11_113, "good": 4}
STATES = {
    **dict.fromkeys(TOTALS, ("succeeded", "ran")),
    "spare": ("skipped", "not_needed"),
    "broken": ("failed", "error"),
    "below": ("upstream_failed", "upstream"),
    "stuck": ("cancelled", "asked"),
}
FAILURES = {"flaky": 1}
"""Attempts before the last one that are no loss of infrastructure."""
EXECUTED = (*TOTALS, "broken", "stuck")


def make_dag(ledger: Path, name: str) -> dict[str, Any]:
    """The reference DAG: fan-out and fan-in, a retry, an unused alternative, a failure with what
    depends on it, and a task that only a cancel ends.
    """
    details = {
        operator: {
            "algo_name": "crash_step",
            "params": {"ledger": str(ledger), **params},
            "run": {"on_failure": "continue", **_RUN_SECTIONS.get(operator, {})},
        }
        for operator, params in _OPERATORS.items()
    }
    rels = {
        source: [{"target": target, "source_index": 0, "target_index": 0} for target in targets]
        for source, targets in _EDGES.items()
    }
    return {
        "dag": {
            "name": name,  # another each time, so that the definition is stored, too
            "operator_list": list(_OPERATORS),
            "operator_rels": rels,
            "operator_details": details,
        }
    }


@dataclass(frozen=True, slots=True)
class Crash:
    """One fault: in which role, before or after which of its points; what came of it, and how many
    seconds passed until the run moved on; None where nothing was left to move.
    """

    role: str
    when: str
    at: tuple[int, ...]
    fired: list[str]
    recovery_s: float | None = None

    def __str__(self) -> str:
        return f"{self.role} {self.when} {self.at}: {', '.join(self.fired) or 'nothing'}"


class CrashRig:
    """Runs the reference DAG on one service, with a crash at a chosen point."""

    def __init__(self, service: RunningService, points: FailpointFolder, ledger: Path) -> None:
        self.service = service
        self.points = points
        self.ledger = ledger
        self.replayed = Replayed()

    def crash(self, role: str, when: str, *at: int) -> Crash:
        """Run the DAG once with a crash, check everything, and tell whether it crashed at all."""
        self.points.arm(role, "kill", when=when, at=at)
        try:
            run_id = self.run_to_end()
            fired = self.points.fired(role)
            self.points.disarm(role)
            self.check(run_id, may_lose=bool(fired) and role in ("executor-local", "worker"))
        except AssertionError as error:
            crash = Crash(role, when, at, self.points.fired(role))
            raise AssertionError(f"{crash}: {error}\n{self.service.describe()}") from error
        return Crash(role, when, at, fired, self._find_recovery(run_id, fired))

    def _find_recovery(self, run_id: str, fired: list[str]) -> float | None:
        if not fired:
            return None
        crashed_at = float(fired[-1].split()[0])
        events = self.insist("GET", f"/api/v1/runs/{run_id}/events", 200)["items"]
        moments = (dt.datetime.fromisoformat(event["at"]).timestamp() for event in events)
        return min((at - crashed_at for at in moments if at > crashed_at), default=None)

    def run_to_end(self) -> str:
        """Start the DAG, cancel what hangs, wait for the end; whatever breaks is said again."""
        key = secrets.token_hex(8)
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        body = json.dumps(make_dag(self.ledger, key))
        run = self.insist("POST", "/api/v1/runs", 202, data=body, headers=headers)
        run_id = str(run["id"])
        index = {task["operator"]: task["index"] for task in self.tasks(run_id)}[CANCELLED]
        mark = f"{run_id} {index} "
        wait_until(lambda: self._has_line(mark), 60, lambda: f"no start: {self.tasks(run_id)}")
        path = f"/api/v1/runs/{run_id}/tasks/{CANCELLED}:cancel"
        self.insist("POST", path, 202)
        wait_until(lambda: self._is_over(run_id), 60, lambda: f"no end: {self.tasks(run_id)}")
        return run_id

    def insist(self, method: str, path: str, status: int, **options: Any) -> Any:
        """Call until it is answered well: a client may repeat after a broken connection or 503."""

        def call() -> requests.Response | None:
            try:
                reply = requests.request(method, self.service.url + path, timeout=30, **options)
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                return None
            if reply.status_code == 503:
                return None
            assert reply.status_code == status, f"{path}: {reply.status_code} {reply.text[:500]}"
            return reply

        reply = wait_until(call, 30, lambda: f"{method} {path} is not answered")
        assert reply is not None
        return reply.json()

    def tasks(self, run_id: str) -> list[dict[str, Any]]:
        found = self.insist("GET", f"/api/v1/runs/{run_id}/tasks", 200)["items"]
        return [dict(task) for task in found]

    def check(self, run_id: str, *, may_lose: bool) -> None:
        """Everything is as without a crash, save attempts that the crash explains."""
        run = self.insist("GET", f"/api/v1/runs/{run_id}", 200)
        assert run["state"] == "failed", run
        found = {task["operator"]: task for task in self.tasks(run_id)}
        states = {name: (task["state"], task["reason"]) for name, task in found.items()}
        assert states == STATES
        outputs = {name: [out["sha256"] for out in task["outputs"]] for name, task in found.items()}
        assert outputs == {name: _expect_digests(name) for name in _OPERATORS}
        executed = self._executions(run_id)
        assert max(executed.values()) == 1, f"an attempt was executed twice: {executed}"
        for operator, task in found.items():
            detail = self.insist("GET", f"/api/v1/runs/{run_id}/tasks/{operator}", 200)
            ran = sum(count for (i, _), count in executed.items() if i == task["index"])
            self._check_attempts(operator, detail["attempts"], ran, may_lose=may_lose)

    @staticmethod
    def _check_attempts(
        operator: str, attempts: list[dict[str, Any]], n_executed: int, *, may_lose: bool
    ) -> None:
        n_lost = sum(one["reason"] in INFRASTRUCTURE for one in attempts)
        n_expected = (1 + FAILURES.get(operator, 0)) if operator in EXECUTED else 0
        if not may_lose:
            assert n_lost == 0, f"{operator}: nothing explains a loss: {attempts}"
            assert len(attempts) == n_executed == n_expected, (operator, n_executed, attempts)
            return
        # An attempt that was lost may have been the one that was to fail.
        assert n_expected - FAILURES.get(operator, 0) <= len(attempts) - n_lost <= n_expected
        assert len(attempts) - n_lost <= n_executed <= len(attempts), (operator, attempts)

    def _executions(self, run_id: str) -> Counter[tuple[int, int]]:
        lines = (line.split() for line in self.ledger.read_text().splitlines())
        return Counter((int(index), int(attempt)) for run, index, attempt in lines if run == run_id)

    def _has_line(self, start: str) -> bool:
        if not self.ledger.exists():
            return False
        return any(line.startswith(start) for line in self.ledger.read_text().splitlines())

    def _is_over(self, run_id: str) -> bool:
        run = self.insist("GET", f"/api/v1/runs/{run_id}", 200, params={"wait_s": 1})
        return run["state"] in FINAL


def _expect_digests(operator: str) -> list[str]:
    if operator not in TOTALS:
        return []
    report: dict[str, Any] = {"total": TOTALS[operator]}
    if _OPERATORS[operator].get("behaviour") == "add_much":
        report["numbers"] = list(range(crash_algorithms.TOO_LARGE_TO_TRAVEL))
    text = json.dumps(report, separators=(",", ":"))
    return [hashlib.sha256(text.encode()).hexdigest()]


@contextmanager
def open_crash_rig(folder: Path, dialect: str) -> Iterator[CrashRig]:
    """Run a service with failpoints on a database of its own; once it is stopped, the events of all
    runs are replayed.
    """
    with ExitStack() as stack:
        url = sqlite_url(folder / "home")
        if dialect == "mysql":
            url = stack.enter_context(fresh_mysql_url())
            made = dagengine("db", "upgrade", "--database-url", url)
            assert made.returncode == 0, made.stderr
        with _run_service(folder, url if dialect == "mysql" else "") as rig:
            yield rig
        database = Database(url, DatabaseConfig(url=url))
        stack.callback(database.close)
        rig.replayed = replay_database(database)
        assert rig.replayed.n_runs > 0
        assert (rig.replayed.n_open, rig.replayed.problems) == (0, [])


@contextmanager
def _run_service(folder: Path, database_url: str) -> Iterator[CrashRig]:
    algorithms = put_algorithms(folder / "algorithms", crash_algorithms)
    config = folder / "config.yaml"
    config.write_text(
        "executors: {local: {slots: 6, options: {preload: [], start_report_s: 0.05}}}\n"
        "server: {workers: 2}\n"
    )
    points = FailpointFolder(folder / "failpoints", ("restart_at_once",))
    command = ["--config", str(config), "--algorithms", str(algorithms)]
    if database_url:
        command += ["--database-url", database_url]
    with run_serve(folder / "home", *command, env=points.environment()) as service:
        yield CrashRig(service, points, folder / "ledger.txt")


def crash_everywhere(rig: CrashRig, role: str) -> list[Crash]:
    """Crash before and after the 1st, 2nd, 3rd … point, until a run is untouched."""
    crashes = []
    for when in ("before", "after"):
        for number in itertools.count(1):
            crash = rig.crash(role, when, number)
            if not crash.fired:
                break
            crashes.append(crash)
    return crashes


def crash_here_and_there(rig: CrashRig, roles: Iterable[str], step: int) -> list[Crash]:
    """Crash each role at every `step`-th of its points, by turns before and after it."""
    for role in roles:
        rig.points.arm(role, "count")
    rig.check(rig.run_to_end(), may_lose=False)
    n_points = {role: len(rig.points.hits(role)) for role in roles}
    for role in roles:
        rig.points.disarm(role)
    whens = itertools.cycle(("before", "after"))
    return [
        rig.crash(role, next(whens), number)
        for role in roles
        for number in range(1, n_points[role] + 1, step)
    ]
