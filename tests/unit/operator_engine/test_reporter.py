"""What the monitor process makes of outcomes that cannot be reported as they are."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from executors.base import ArtifactRef, Outcome
from operator_engine.messages import ToMonitor
from operator_engine.outbox import Release
from operator_engine.reporter import Reporter
from tests.support.ports import find_free_port
from tests.support.report_sink import ReportSink
from tests.support.waiting import wait_until

MIB = 1024 * 1024


@pytest.fixture
def sink() -> Iterator[ReportSink]:
    sink = ReportSink()
    yield sink
    sink.close()


@pytest.fixture
def released() -> list[str]:
    return []


@pytest.fixture
def report(sink: ReportSink, released: list[str]) -> Iterator[Callable[[list[Outcome]], None]]:
    def release(items: list[Release]) -> None:
        released.extend(item.attempt_id for item in items)

    reporter = Reporter("e1", sink.url, "", lambda _: None, release)
    reporter.start()

    def hear(outcomes: list[Outcome]) -> None:
        attempt_ids = [outcome.attempt_id for outcome in outcomes]
        sink.wanted.update(attempt_ids)
        tokens = {attempt_id: sink.make_token(attempt_id) for attempt_id in attempt_ids}
        reporter.hear_main(ToMonitor(tokens=tokens, incarnation="i", reports_url=sink.url + PATH))
        reporter.hear_executor("third party", outcomes, is_first=True)

    yield hear
    reporter.stop()


PATH = "/internal/v1/reports"


def _end(attempt_id: str, **fields: Any) -> Outcome:
    return Outcome(attempt_id=attempt_id, kind="ended", state="succeeded", **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"metrics": {"auc": "high"}},
        {"outputs": None},
        {"outputs": [ArtifactRef(type="report", inline=object())]},
        {"message": "x" * (50 * MIB)},
    ],
)
def test_an_outcome_that_is_no_message_fails_its_own_attempt_alone(
    sink: ReportSink,
    report: Callable[[list[Outcome]], None],
    released: list[str],
    fields: dict[str, Any],
) -> None:
    report([_end("r.0.1"), _end("r.1.1", **fields), _end("r.2.1")])
    good, bad, other = sink.wait_ends(["r.0.1", "r.1.1", "r.2.1"])
    assert (good.state, other.state) == ("succeeded", "succeeded")
    assert (bad.state, bad.reason) == ("failed", "invalid_output")
    assert "third party" in bad.message
    wait_until(lambda: sorted(released) == ["r.0.1", "r.1.1", "r.2.1"], 5, lambda: str(released))


@contextlib.contextmanager
def resting_reporter(sink: ReportSink) -> Iterator[Callable[[Callable[[Reporter], None]], None]]:
    """A reporter, and a way to do something and wait until its thread has looked and rests."""
    reporter = Reporter("e1", sink.url, "", lambda _: None, lambda _: None)
    rests = threading.Semaphore(0)
    wait = reporter._changed.wait

    def rest(timeout_s: float | None = None) -> bool:
        rests.release()
        return wait(timeout_s)

    def do_and_rest(action: Callable[[Reporter], None]) -> None:
        action(reporter)
        assert rests.acquire(timeout=10)

    reporter._changed.wait = rest
    do_and_rest(Reporter.start)
    try:
        yield do_and_rest
    finally:
        reporter.stop()


def test_an_end_that_lacked_its_token_is_reported_when_the_token_comes(sink: ReportSink) -> None:
    sink.wanted.add("r.0.1")
    address = ToMonitor(incarnation="i", reports_url=sink.url + PATH)
    token = ToMonitor(tokens={"r.0.1": sink.make_token("r.0.1")})
    with resting_reporter(sink) as do:
        do(lambda reporter: reporter.hear_main(address))
        do(lambda reporter: reporter.hear_executor("local", [_end("r.0.1")], is_first=True))
        do(lambda reporter: reporter.hear_main(token))
        (end,) = sink.wait_ends(["r.0.1"])
    assert end.state == "succeeded"


def test_a_start_that_was_told_before_the_address_is_reported_when_that_comes(
    sink: ReportSink,
) -> None:
    sink.wanted.add("r.0.1")
    start = Outcome(attempt_id="r.0.1", kind="started")
    token = ToMonitor(tokens={"r.0.1": sink.make_token("r.0.1")})
    address = ToMonitor(incarnation="i", reports_url=sink.url + PATH)

    def tell_start(reporter: Reporter) -> None:
        reporter.hear_main(token)  # which alone wakes nobody
        reporter.hear_executor("local", [start], is_first=True)

    with resting_reporter(sink) as do:
        do(tell_start)
        do(lambda reporter: reporter.hear_main(address))
        wait_until(lambda: [one.kind for one in sink.told] == ["started"])


def test_many_long_outcomes_go_in_several_messages(
    sink: ReportSink, report: Callable[[list[Outcome]], None]
) -> None:
    ids = [f"r.{i}.1" for i in range(20)]
    report([_end(attempt_id, traceback="x" * (4 * MIB)) for attempt_id in ids])
    assert {end.state for end in sink.wait_ends(ids)} == {"succeeded"}


def test_the_other_address_is_tried_at_once_where_the_leader_does_not_answer(
    sink: ReportSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operator_engine.reporter._FIRST_PAUSE_S", 60.0)
    reporter = Reporter("e1", sink.url, "", lambda _: None, lambda _: None)
    reporter.start()
    try:
        sink.wanted.add("r.0.1")
        nobody = f"http://127.0.0.1:{find_free_port()}{PATH}"
        tokens = {"r.0.1": sink.make_token("r.0.1")}
        reporter.hear_main(ToMonitor(tokens=tokens, incarnation="i", reports_url=nobody))
        reporter.hear_executor("local", [_end("r.0.1")], is_first=True)
        (end,) = sink.wait_ends(["r.0.1"])
        assert end.state == "succeeded"
    finally:
        reporter.stop()


def test_a_report_to_a_scheduler_that_was_followed_is_given_up(
    sink: ReportSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operator_engine.reporter._TIMEOUT_S", 600.0)
    reporter = Reporter("e1", sink.url, "", lambda _: None, lambda _: None)
    reporter.start()
    try:
        sink.wanted.add("r.0.1")
        tokens = {"r.0.1": sink.make_token("r.0.1")}
        with socket.create_server(("127.0.0.1", 0)) as stands_still:
            silent = f"http://127.0.0.1:{stands_still.getsockname()[1]}{PATH}"
            reporter.hear_main(ToMonitor(tokens=tokens, incarnation="i", reports_url=silent))
            reporter.hear_executor("local", [_end("r.0.1")], is_first=True)
            connection, _ = stands_still.accept()
            with connection:
                assert connection.recv(10) == b"POST /inte"
                reporter.hear_main(ToMonitor(incarnation="i", reports_url=sink.url + PATH))
                (end,) = sink.wait_ends(["r.0.1"])
        assert end.state == "succeeded"
    finally:
        reporter.stop()
