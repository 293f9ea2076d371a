"""What the supervisor does when a signal, or its own kill, comes at the worst moment."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from executors.base import ExecutorSettings, Outcome
from executors.local.messages import Command
from executors.local.options import LocalOptions, PoolSettings
from executors.local.pool import WorkerRecord
from executors.local.supervisor import Supervisor

SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    """A supervisor that forks nobody, with its signals caught."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    settings = PoolSettings(
        name="local",
        options=LocalOptions(preload=[], cgroups="off"),
        executor=ExecutorSettings(home=str(tmp_path), logs=str(tmp_path), store_url=""),
    )
    made = Supervisor(settings)
    monkeypatch.setattr(made._reaper, "reap", lambda: None)
    monkeypatch.setattr(made._reaper, "when_swept", lambda callback: callback())
    made._catch_signals()
    yield made
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)
    for end in made._wakeup:
        end.close()


def submit(supervisor: Supervisor, attempt_id: str) -> None:
    task = msgspec.Raw(msgspec.json.encode({"attempt_id": attempt_id}))
    assert supervisor._submit(Command(op="submit", tasks=[task])).refused == {}


def ends_of(supervisor: Supervisor) -> dict[str, Outcome]:
    told = [msgspec.json.decode(news, type=Outcome) for news in supervisor._book.news]
    return {outcome.attempt_id: outcome for outcome in told if outcome.kind == "ended"}


def test_drain_that_comes_while_an_attempt_is_handed_out_is_seen_to_afterwards(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []

    def take_idle() -> WorkerRecord | None:
        os.kill(os.getpid(), signal.SIGUSR1)
        return WorkerRecord() if not given else None

    monkeypatch.setattr(supervisor._pool, "take_idle", take_idle)
    monkeypatch.setattr(supervisor._pool, "give", lambda _, attempt, task: given.append(attempt.id))
    monkeypatch.setattr(supervisor._pool, "fill", lambda: None)
    submit(supervisor, "r.0.1")
    assert given == ["r.0.1"]
    submit(supervisor, "r.1.1")
    assert ends_of(supervisor) == {}
    supervisor._on_signal()
    submit(supervisor, "r.2.1")
    assert given == ["r.0.1"]
    ends = ends_of(supervisor)
    assert [ends[name].is_handed_back for name in sorted(ends)] == [True, True]


def test_stop_that_comes_in_the_middle_of_something_waits_for_its_end(
    supervisor: Supervisor,
) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    assert not supervisor._is_ending
    supervisor._on_signal()
    assert supervisor._is_ending


def test_what_is_refused_while_we_kill_is_not_the_attempt_s_fault(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = WorkerRecord(pid=2**22 + 1)
    monkeypatch.setattr(supervisor._pool, "take_idle", lambda: worker)
    submit(supervisor, "r.0.1")
    assert worker.attempt is not None
    worker.attempt.detail = "The task closed the worker's connection to its supervisor."
    monkeypatch.setattr(supervisor._watch, "has_refused", lambda attempt, pid: True)
    result = os.waitid_result((worker.pid, 0, signal.SIGCHLD, signal.SIGKILL, os.CLD_KILLED))
    supervisor._on_death(worker, result)
    end = ends_of(supervisor)["r.0.1"]
    assert (end.reason, "closed the worker's connection" in end.message) == ("exited", True)
