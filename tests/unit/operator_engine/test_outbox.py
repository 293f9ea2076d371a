from __future__ import annotations

import datetime as dt

from executors.base import Outcome, Progress, Report, Verdict
from operator_engine.messages import ToMonitor
from operator_engine.outbox import Outbox, Release

MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def started(attempt_id: str = "r.0.1", age_s: float = 0.0) -> Outcome:
    at = MOMENT - dt.timedelta(seconds=age_s)
    return Outcome(attempt_id=attempt_id, kind="started", started_at=at)


def ended(attempt_id: str = "r.0.1") -> Outcome:
    return Outcome(attempt_id=attempt_id, kind="ended", state="succeeded")


def progress(done: float, attempt_id: str = "r.0.1") -> Outcome:
    return Outcome(attempt_id=attempt_id, kind="progress", progress=Progress(done=done))


def make_outbox(*tokens: str) -> Outbox:
    outbox = Outbox()
    outbox.learn(ToMonitor(tokens={token: f"t-{token}" for token in tokens or ("r.0.1",)}))
    return outbox


def tell(outbox: Outbox, *outcomes: Outcome, now: float = 0.0) -> list[Release]:
    return outbox.tell("file", outcomes, now, MOMENT)[1]


def take(outbox: Outbox, now: float = 0.0) -> list[Report]:
    return outbox.take(1000, now)[0]


def kinds(reports: list[Report]) -> list[str]:
    return [report.outcome.kind for report in reports]


def verdict(attempt_id: str = "r.0.1", kind: str = "ended") -> Verdict:
    return Verdict(attempt_id=attempt_id, kind=kind, verdict="applied")


def test_end_is_reported_once_with_its_token() -> None:
    outbox = make_outbox()
    tell(outbox, ended())
    (report,) = take(outbox)
    assert report.token == "t-r.0.1"
    tell(outbox, ended())
    assert take(outbox) == []


def test_short_start_travels_with_the_end() -> None:
    outbox = make_outbox()
    tell(outbox, started())
    assert outbox.take(1000, 0.049) == ([], 0.05)
    tell(outbox, ended(), now=0.049)
    (report,) = take(outbox, 1.0)
    assert (report.outcome.kind, report.outcome.started_at) == ("ended", MOMENT)


def test_start_is_reported_when_the_end_does_not_come() -> None:
    outbox = make_outbox()
    tell(outbox, started())
    assert kinds(take(outbox, 0.05)) == ["started"]


def test_start_that_the_executor_held_back_is_not_held_back_again() -> None:
    outbox = make_outbox()
    tell(outbox, started(age_s=0.06))
    assert kinds(take(outbox, 0.0)) == ["started"]


def test_outcome_without_token_waits_for_it() -> None:
    outbox = Outbox()
    tell(outbox, ended())
    assert take(outbox) == []
    outbox.learn(ToMonitor(tokens={"r.0.1": "late"}))
    assert [report.token for report in take(outbox)] == ["late"]


def test_progress_releases_the_start_and_newer_progress_replaces_older() -> None:
    outbox = make_outbox()
    tell(outbox, started(), progress(1), progress(2))
    reports = take(outbox)
    assert kinds(reports) == ["started", "progress"]
    assert reports[1].outcome.progress == Progress(done=2)


def test_what_is_put_back_comes_first_and_yields_to_newer_progress() -> None:
    outbox = make_outbox("r.0.1", "r.1.1", "r.2.1")
    tell(outbox, progress(1), ended("r.1.1"))
    failed = take(outbox)
    tell(outbox, progress(2), ended("r.2.1"))
    outbox.put_back(failed)
    again = take(outbox)
    assert [(r.outcome.attempt_id, r.outcome.kind) for r in again] == [
        ("r.0.1", "progress"),
        ("r.1.1", "ended"),
        ("r.2.1", "ended"),
    ]
    assert again[0].outcome.progress == Progress(done=2)


def test_progress_is_not_repeated_after_the_end() -> None:
    outbox = make_outbox()
    tell(outbox, progress(1))
    failed = take(outbox)
    tell(outbox, ended())
    outbox.put_back(failed)
    assert kinds(take(outbox)) == ["ended"]


def test_acknowledged_end_is_released_and_again_when_it_is_told_again() -> None:
    outbox = make_outbox()
    tell(outbox, ended())
    take(outbox)
    assert outbox.acknowledge([verdict()]) == (["r.0.1"], [Release("file", "r.0.1")])
    assert tell(outbox, ended()) == [Release("file", "r.0.1")]
    assert take(outbox) == []
    assert outbox.follows == {}


def test_verdict_on_a_start_acknowledges_no_end() -> None:
    outbox = make_outbox()
    tell(outbox, started(age_s=1))
    take(outbox)
    assert outbox.acknowledge([verdict(kind="started")]) == ([], [])
    tell(outbox, ended())
    assert kinds(take(outbox)) == ["ended"]


def test_end_made_up_by_the_engine_is_reported_but_not_released() -> None:
    outbox = make_outbox()
    outbox.learn(ToMonitor(outcomes=[ended()]))
    assert kinds(take(outbox)) == ["ended"]
    assert outbox.acknowledge([verdict()]) == (["r.0.1"], [])


def test_forgotten_attempt_is_released_without_a_report() -> None:
    outbox = make_outbox()
    tell(outbox, started(age_s=1))
    assert outbox.learn(ToMonitor(forget=["r.0.1"])) == []
    assert take(outbox) == []
    assert tell(outbox, ended()) == [Release("file", "r.0.1")]
    assert take(outbox) == []


def test_notes_tell_each_new_stage_once() -> None:
    outbox = make_outbox()
    held = Outcome(attempt_id="r.0.1", kind="accepted")
    told = [outbox.tell("file", [o], 0.0, MOMENT)[0] for o in (held, started(), started(), ended())]
    assert [[note.stage for note in notes] for notes in told] == [
        ["accepted"],
        ["started"],
        [],
        ["ended"],
    ]


def test_hello_tells_a_new_main_all_that_is_not_settled() -> None:
    outbox = make_outbox("r.0.1", "r.1.1", "r.2.1")
    tell(outbox, ended("r.0.1"), started("r.1.1"))
    outbox.acknowledge([verdict("r.0.1")])
    hello = outbox.make_hello({"file"})
    assert [(note.attempt_id, note.stage) for note in hello.notes] == [("r.1.1", "started")]
    assert hello.acknowledged == ["r.0.1"]
    assert hello.polled == ["file"]
