"""When the watch looks, and whom it ends; the kernel and the clock are played."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from executors.base import ExecutorSettings
from executors.local import cgroups, pens, watch
from executors.local.book import Attempt, AttemptBook
from executors.local.cgroups import Cages
from executors.local.loop import Loop
from executors.local.messages import TaskHead
from executors.local.options import LocalOptions, PoolSettings
from executors.local.pens import Pens
from executors.local.pool import WorkerRecord
from executors.local.watch import Watch


@dataclass
class Kernel:
    """What the kernel would tell; `killed` and `n_refused` count for every attempt."""

    now: float = 1000.0
    killed: str = ""
    n_refused: int = 0
    is_asleep: bool = False
    n_oom_kills: int = 0
    ended: list[tuple[str, str]] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    played = Kernel()
    monkeypatch.setattr(watch, "time", played)
    monkeypatch.setattr(Cages, "killing", lambda self, attempt_id: played.killed)
    monkeypatch.setattr(Cages, "has", lambda self, attempt_id: True)
    monkeypatch.setattr(Pens, "has", lambda self, pid: True)
    monkeypatch.setattr(pens, "count_refusals", lambda path, limit: played.n_refused)
    monkeypatch.setattr(watch.proctree, "is_asleep", lambda pids: played.is_asleep)
    monkeypatch.setattr(watch.proctree, "descendants_of", lambda pid: [])
    monkeypatch.setattr(cgroups, "count_oom_kills", lambda counters: played.n_oom_kills)
    return played


@pytest.fixture
def watching(kernel: Kernel, tmp_path: Path) -> Watch:
    settings = PoolSettings(
        name="local",
        options=LocalOptions(log_limit_bytes=1024),
        executor=ExecutorSettings(home=str(tmp_path), logs=str(tmp_path), store_url=""),
        cages=Cages(version=1, own="/nowhere", folder="/nowhere"),
        pens=Pens(version=1, folder="/nowhere", limit=20),
    )

    def end(attempt: Attempt, cause: str, detail: str) -> None:
        attempt.cause = cause  # type: ignore[assignment]
        kernel.ended.append((attempt.id, cause))

    book = AttemptBook(str(tmp_path / "journal"))
    return Watch(Loop(), book, settings, lambda attempt: None, end)


def make_attempt(number: int = 0, memory_mb: int | None = None) -> Attempt:
    attempt_id = f"r.{number}.1"
    attempt = Attempt(attempt_id, TaskHead(attempt_id=attempt_id), stage="started")
    attempt.limit_mb = memory_mb
    attempt.worker = WorkerRecord(pid=2**22 + 1 + number)
    return attempt


def look_for(watching: Watch, kernel: Kernel, attempt: Attempt, seconds: float) -> None:
    """Look every tenth of a second."""
    for _ in range(round(seconds * 10)):
        kernel.now += 0.1
        watching._check(attempt)


def test_who_gets_no_core_after_a_kill_has_time_to_say_so(watching: Watch, kernel: Kernel) -> None:
    attempt = make_attempt(memory_mb=200)
    kernel.killed = "limit"
    look_for(watching, kernel, attempt, 9.0)
    assert kernel.ended == []
    kernel.is_asleep = True
    look_for(watching, kernel, attempt, 0.8)
    kernel.is_asleep = False
    look_for(watching, kernel, attempt, 0.1)
    assert kernel.ended == []
    look_for(watching, kernel, attempt, 0.5)
    assert kernel.ended == [("r.0.1", "memory")], "but it has not all the time in the world"


def test_who_only_sleeps_after_a_kill_is_ended(watching: Watch, kernel: Kernel) -> None:
    attempt = make_attempt(memory_mb=200)
    kernel.killed, kernel.is_asleep = "limit", True
    look_for(watching, kernel, attempt, 0.9)
    assert kernel.ended == []
    look_for(watching, kernel, attempt, 0.4)
    assert kernel.ended == [("r.0.1", "memory")]


def test_who_does_without_what_was_refused_may_go_on(watching: Watch, kernel: Kernel) -> None:
    attempt = make_attempt()
    for n_refused in (3, 4, 9):
        kernel.n_refused = n_refused
        look_for(watching, kernel, attempt, 2.0)
    assert kernel.ended == []


def test_who_starts_again_and_again_what_is_refused_is_ended_soon(
    watching: Watch, kernel: Kernel
) -> None:
    attempt = make_attempt()
    kernel.n_refused = 10
    assert watching._check(attempt) <= 0.1
    kernel.n_refused = 20
    watching._check(attempt)
    assert kernel.ended == [("r.0.1", "processes")]


def test_attempt_that_logs_fast_is_looked_at_often_and_the_others_are_not(
    watching: Watch, kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    check = watching._check
    monkeypatch.setattr(watching, "_check", lambda a: (looks.append(a.id), check(a))[1])
    fast, slow = make_attempt(0), make_attempt(1)
    log = tmp_path / "r" / "0.1.log"
    log.parent.mkdir()
    log.write_bytes(b"x" * 2048)
    for attempt in (fast, slow):
        watching._look(attempt, 0.05)
    for _ in range(20):
        kernel.now += 0.02
        with log.open("ab") as file:
            file.write(b"x" * 2048)
        watching._tick()
    assert looks.count("r.0.1") >= 15
    assert looks.count("r.1.1") <= 3


def test_kills_are_remembered_for_seconds_however_often_it_is_looked(
    watching: Watch, kernel: Kernel
) -> None:
    watching._watched = {"r.0.1": make_attempt()}
    watching._tick()
    kernel.n_oom_kills = 1
    for _ in range(200):
        kernel.now += 0.02
        watching._tick()
    assert watching.has_kernel_killed()
    kernel.now += 5.0
    watching._tick()
    assert not watching.has_kernel_killed()
