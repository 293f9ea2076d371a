"""When the scheduler is told of new runs, and of which together."""

from __future__ import annotations

import threading

import pytest

from dag_engine.api.hints import StartHints
from tests.support.waiting import wait_until

LONG_S = 60.0


class Told:
    """What the scheduler was told; starts are entered and left as if by several threads."""

    def __init__(self, longest_s: float) -> None:
        self.told: list[list[str]] = []
        self.hints = StartHints(self.told.append, longest_s=longest_s)


def test_a_run_that_is_started_alone_is_told_of_before_its_start_is_over() -> None:
    told = Told(LONG_S)
    for run_id in ("r1", "r2"):
        with told.hints.gathered():
            told.hints.note(run_id)
            assert [run_id] not in told.told
        assert told.told[-1] == [run_id]
    assert told.told == [["r1"], ["r2"]]


def test_runs_that_are_started_at_the_same_time_are_told_of_together() -> None:
    told = Told(LONG_S)
    with told.hints.gathered():
        for run_id in ("r1", "r2"):
            with told.hints.gathered():
                told.hints.note(run_id)
        told.hints.note("r3")
        assert told.told == []
    assert told.told == [["r1", "r2", "r3"]]


def test_a_run_is_not_kept_waiting_by_a_start_that_takes_long() -> None:
    told = Told(0.01)
    with told.hints.gathered():
        for run_id in ("r1", "r2"):
            with told.hints.gathered():
                told.hints.note(run_id)
            wait_until(lambda run_id=run_id: [run_id] in told.told)
    assert told.told == [["r1"], ["r2"]], "none is told of again"


def test_a_run_is_told_of_at_once_where_no_thread_is_to_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", refuse)
    told = Told(LONG_S)
    with told.hints.gathered():
        for run_id in ("r1", "r2"):
            with told.hints.gathered():
                told.hints.note(run_id)
            assert told.told[-1] == [run_id]
    assert told.told == [["r1"], ["r2"]]


def test_a_start_that_fails_tells_of_the_others_alone() -> None:
    told = Told(LONG_S)

    def fail(*run_ids: str) -> None:
        with told.hints.gathered():
            for run_id in run_ids:
                with told.hints.gathered():
                    told.hints.note(run_id)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert told.told == []
    with pytest.raises(KeyError):
        fail("r1")
    assert told.told == [["r1"]]


def test_a_dry_run_tells_of_nothing() -> None:
    told = Told(LONG_S)
    with told.hints.gathered():
        pass
    assert told.told == []
