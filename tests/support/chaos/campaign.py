"""A campaign: a cluster under load, faults from a seed, the judgement, and one closing line."""

from __future__ import annotations

import math
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import sqlalchemy as sa

from dag_engine.storage import tables
from tests.support.chaos.checker import Verdict, check
from tests.support.chaos.client import ClientSettings
from tests.support.chaos.cluster import Cluster, run_cluster
from tests.support.chaos.faults import Fault, FaultRecord, find_leader
from tests.support.chaos.history import History, read_client_log, read_database, read_ledger
from tests.support.chaos.menu import Promise, draw_fault, list_first_faults, promise_of
from tests.support.chaos.probe import POLL_S, Probe, Seen
from tests.support.mariadb_server import MariaDbServer
from tests.support.services import ROOT
from tests.support.stored_replay import replay_database
from tests.support.waiting import wait_until

_PATIENCE_S = 5.0
_IN_USE_S = 1.5
_OVERLAP_SHARE = 0.35
_LONG = 100
_DRAIN_S = 120.0


@dataclass(frozen=True, slots=True)
class CampaignPlan:
    """How much is done, and from which seed; when its time is over, `least_faults` are enough."""

    seed: str
    n_faults: int
    limit_s: float
    least_faults: int
    lease_s: float
    runs_per_s: float = 4.0
    n_slots: int = 4


@dataclass(slots=True)
class Outcome:
    """What came of a campaign."""

    name: str
    plan: CampaignPlan
    folder: Path
    faults: list[FaultRecord] = field(default_factory=list)
    history: History = field(default_factory=History)
    verdict: Verdict = field(default_factory=Verdict)
    took_s: float = 0.0

    def closing_line(self) -> str:
        """Say everything in one line."""
        verdict = self.verdict
        n_extra = sum(row.attempt > 1 for row in self.history.attempts)
        recovered = [f.recovery_s for f in self.faults if f.recovery_s is not None]
        figures = {
            "faults": len(self.faults),
            "acked": len(self.history.acked),
            "lost": len(verdict.lost),
            "double_accepted": len(verdict.double_accepted),
            "extra_attempts": n_extra,
            "extra_attempts_unexplained": len(verdict.unexplained),
            "recovery_p99_s": f"{percentile(recovered, 99):.2f}",
            "executions": sum(line.what == "start" for line in self.history.ledger),
            "seconds": f"{self.took_s:.0f}",
            "seed": self.plan.seed,
        }
        return f"chaos {self.name}: " + " ".join(f"{k}={v}" for k, v in figures.items())

    def recovery_lines(self) -> Iterator[str]:
        """Say for each promise how long it took."""
        for name, found in sorted(self.recoveries().items()):
            times = [took for took, _ in found]
            yield (
                f"chaos {self.name} {name}: n={len(times)} p50={percentile(times, 50):.2f} "
                f"p99={percentile(times, 99):.2f} max={max(times):.2f} "
                f"bound={max(bound for _, bound in found):.1f} s"
            )

    def recoveries(self) -> dict[str, list[tuple[float, float]]]:
        """Return the times of recovery with their bounds, by promise."""
        grouped: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for fault in self.faults:
            if fault.recovery_s is not None:
                grouped[fault.promise].append((fault.recovery_s, fault.bound_s))
        return dict(grouped)

    def find_late(self) -> list[str]:
        """Return the faults after which the work went on too late."""
        return [
            str(fault)
            for fault in self.faults
            if fault.recovery_s is not None and fault.recovery_s > fault.bound_s
        ]

    def describe(self) -> str:
        """What helps to understand and repeat a failure."""
        problems = self.verdict.problems()
        return "\n".join(
            [
                self.closing_line(),
                f"seed {self.plan.seed!r}, plan {self.plan}, everything lies in {self.folder}",
                *problems[:40],
                f"{len(problems)} problems; the faults:",
                *map(str, self.faults),
            ]
        )


def percentile(values: list[float], percent: float) -> float:
    """Return the smallest value that so many percent do not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0


def run_campaign(
    folder: Path, name: str, server: MariaDbServer | None, plan: CampaignPlan
) -> Outcome:
    """Run a campaign to its end, and judge it; what goes wrong tells how to repeat it."""
    outcome = Outcome(name, plan, folder)
    try:
        _run(outcome, server)
    except BaseException as error:
        error.add_note(outcome.describe())
        raise
    return outcome


def _run(outcome: Outcome, server: MariaDbServer | None) -> None:
    began = time.monotonic()
    plan, folder = outcome.plan, outcome.folder
    with run_cluster(folder, server, lease_s=plan.lease_s, n_slots=plan.n_slots) as cluster:
        with _run_client(cluster, plan) as client_log:
            with Probe(cluster.open_database, client_log) as probe:
                assert probe.wait_for(lambda s: s.what == "event", 0.0, 60.0), cluster.describe()
                _Chaos(cluster, probe, plan, outcome.faults).run()
            cluster.mend()
        _wait_for_ends(cluster)
        for member in cluster.members:
            assert member.running.stop() == 0, member.running.describe()
            member.running.check_nothing_left()
        outcome.history = _read_history(cluster, client_log, outcome)
    outcome.verdict = check(outcome.history)
    outcome.took_s = time.monotonic() - began


@contextmanager
def _run_client(cluster: Cluster, plan: CampaignPlan) -> Iterator[Path]:
    """Run the client; at the end of the block it is asked to finish what it has begun."""
    log, settings = cluster.folder / "client.jsonl", cluster.folder / "client.json"
    told = ClientSettings(
        urls=cluster.api_urls(),
        seed=plan.seed,
        ledger=str(cluster.ledger),
        log=str(log),
        runs_per_s=plan.runs_per_s,
    )
    settings.write_bytes(msgspec.json.encode(told))
    with (cluster.folder / "client.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.chaos.client", str(settings)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield log
            process.send_signal(signal.SIGTERM)
            code = process.wait(told.give_up_s * 3)
            assert code == 0, (cluster.folder / "client.txt").read_text()
        finally:
            process.kill()
            process.wait()


class _Chaos:
    """Draws faults, lets them happen one after the other, at times two at once."""

    def __init__(
        self, cluster: Cluster, probe: Probe, plan: CampaignPlan, records: list[FaultRecord]
    ) -> None:
        self._cluster = cluster
        self._probe = probe
        self._plan = plan
        self._records = records
        self._chance = random.Random(plan.seed)

    def run(self) -> None:
        """Let faults happen until there are enough of them or the time is over."""
        deadline = time.monotonic() + self._plan.limit_s
        is_long = self._plan.n_faults >= _LONG
        for fault in list_first_faults(self._cluster, self._chance, is_long=is_long):
            self._pause(self._chance.uniform(0.1, 0.8))
            self._happen(fault)
        while len(self._records) < self._plan.n_faults:
            if time.monotonic() > deadline and len(self._records) >= self._plan.least_faults:
                break
            self._pause(self._chance.uniform(0.1, 0.8))
            first = draw_fault(self._cluster, self._chance)
            if first.hold_s > 0.5 and self._chance.random() < _OVERLAP_SHARE:
                self._overlap(first)
            else:
                self._happen(first)

    def _happen(self, fault: Fault) -> None:
        """Let one fault happen by itself, and take the time until work goes on."""
        leader = find_leader(self._cluster)
        record = self._begin(fault)
        if record is None:
            return
        promise = promise_of(fault, leader)
        is_measured = promise is not None and self._has_work(promise, record)
        out = self._probe.find_open(promise.loser) if promise is not None else set()
        self._pause(fault.hold_s)
        fault.end()
        self._settle(fault, record)
        if promise is not None and is_measured:
            self._measure(record, promise, out)
            self._log(str(record))

    def _has_work(self, promise: Promise, record: FaultRecord) -> bool:
        """Where there was nothing to do just before, nothing will show when work goes on."""
        if record.attempt_id:
            return self._probe.is_open(record.attempt_id)
        if promise.loser:
            return bool(self._probe.find_open(promise.loser))
        return self._probe.has_seen(promise.is_meant, record.began - _IN_USE_S, record.began)

    def _measure(self, record: FaultRecord, promise: Promise, out: set[str]) -> None:
        """Take the time until work goes on; `out` is what the victim held when it began."""
        since = record.ended if promise.is_from_end else record.began
        # What was committed just before may be seen just after; not the end of the very attempt.
        after = since if record.attempt_id else since + 2 * POLL_S

        def is_meant(seen: Seen) -> bool:
            if promise.loser:
                return seen.attempt_id in out and seen.state in ("retrying", "failed")
            return promise.is_meant(seen) and (not promise.is_new or seen.known_since > since)

        seen = self._probe.wait_for(is_meant, after, promise.bound_s + _PATIENCE_S)
        if seen is not None and seen.state == "succeeded" and promise.name == "worker_crash":
            return  # the operator had just finished
        if seen is None and promise.loser and not any(map(self._probe.is_open, out)):
            return  # all of it had just finished
        record.promise, record.bound_s = promise.name, promise.bound_s
        record.recovery_s = seen.at - since if seen else math.inf

    def _overlap(self, first: Fault) -> None:
        """Begin a fault and let a second one happen before it ends."""
        record = self._begin(first)
        if record is None:
            return
        ends_at = time.monotonic() + first.hold_s
        second = draw_fault(self._cluster, self._chance)
        other = None
        if not _do_clash(first, second):
            self._pause(self._chance.uniform(0.0, first.hold_s / 2))
            other = self._begin(second)
        if other is not None:
            self._pause(min(second.hold_s, max(0.0, ends_at - time.monotonic())))
            second.end()
        self._pause(ends_at - time.monotonic())
        first.end()
        self._settle(first, record)
        if other is not None:
            self._settle(second, other)

    def _begin(self, fault: Fault) -> FaultRecord | None:
        began = time.time()
        if not fault.begin():
            return None
        record = FaultRecord(
            number=len(self._records) + 1,
            kind=fault.kind,
            target=fault.target,
            began=began,
            ended=math.inf,
            reach=fault.reach(),
            pids=fault.pids,
            attempt_id=fault.attempt_id,
        )
        self._records.append(record)
        self._log(f"{began:.3f} begin #{record.number} {record.kind} {record.target} {fault.pids}")
        return record

    def _log(self, line: str) -> None:
        """Write it down at once: what goes wrong may end the campaign."""
        with (self._cluster.folder / "faults.txt").open("a") as file:
            file.write(line + "\n")

    def _settle(self, fault: Fault, record: FaultRecord) -> None:
        fault.settle()
        record.ended = time.time()
        self._log(f"{record.ended:.3f} end {record}")

    @staticmethod
    def _pause(seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)


def _do_clash(first: Fault, second: Fault) -> bool:
    """Two faults of the same thing at once would end each other."""
    names = {first.target.split()[0], second.target.split()[0]}
    return len(names) == 1 or "everything" in names or type(first) is type(second)


def _wait_for_ends(cluster: Cluster) -> None:
    """Wait until nothing is open any more; what stays open is found by the judgement."""
    database = cluster.open_database()
    runs = tables.runs.c
    n_open = sa.select(sa.func.count()).where(runs.ended_at.is_(None))

    def has_ended() -> bool:
        return database.read(lambda c: c.scalar(n_open), deadline_s=10.0) == 0

    try:
        wait_until(has_ended, _DRAIN_S)
    except AssertionError:
        (cluster.folder / "open.txt").write_text(cluster.describe())
    finally:
        database.close()


def _read_history(cluster: Cluster, client_log: Path, outcome: Outcome) -> History:
    history = History(
        faults=outcome.faults, lease_s=outcome.plan.lease_s, n_slots=outcome.plan.n_slots
    )
    read_client_log(history, client_log)
    read_ledger(history, cluster.ledger)
    database = cluster.open_database()
    try:
        read_database(history, database)
        history.replay_problems = replay_database(database).problems
    finally:
        database.close()
    return history
