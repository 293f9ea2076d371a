import queue
import threading
import time
from collections.abc import Iterator

import pytest

from dag_engine.api.errors import UnavailableError
from dag_engine.api.feed import RunFeed, Watch
from dag_engine.api.scheduler_client import SchedulerClient
from executors.transport.http_server import HttpServer, Request, Response


class FakeScheduler:
    """Serves a feed whose lines the test gives, and answers hints."""

    def __init__(self) -> None:
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        self.requests: list[Request] = []
        self.server = HttpServer(self.answer)
        self.server.start()

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        if request.path == "/internal/v1/feed":
            return Response(stream=self.stream())
        return Response(202, b"{}")

    def stream(self) -> Iterator[bytes]:
        yield b"{}\n"
        while (line := self.lines.get()) is not None:
            yield line


@pytest.fixture
def scheduler() -> Iterator[FakeScheduler]:
    fake = FakeScheduler()
    yield fake
    fake.lines.put(None)
    fake.server.close()


@pytest.fixture
def feed(scheduler: FakeScheduler) -> Iterator[RunFeed]:
    made = RunFeed(lambda: scheduler.server.url, lambda: "secret")
    yield made
    scheduler.lines.put(None)
    made.close()


def wait_until(condition: object, deadline_s: float = 10.0) -> None:
    assert callable(condition)
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.005)


def test_line_of_the_feed_wakes_whoever_waits_for_that_run(
    scheduler: FakeScheduler, feed: RunFeed
) -> None:
    with feed.watch("r1") as mine, feed.watch("r2") as other:
        wait_until(lambda: feed.is_live)
        mine.wait(0.2)
        other.wait(0.2)
        scheduler.lines.put(b'{"runs":{"r1":{"seq":3,"state":"running"}}}\n')

        assert mine.wait(10.0)
        assert not other.wait(0.0)
    assert scheduler.requests[0].headers["x-dagengine-secret"] == "secret"


def test_broken_feed_is_no_longer_live_and_is_taken_up_again(
    scheduler: FakeScheduler, feed: RunFeed
) -> None:
    with feed.watch("r1") as watch:
        wait_until(lambda: feed.is_live)
        scheduler.lines.put(None)
        wait_until(lambda: not feed.is_live)
        wait_until(lambda: feed.is_live)
        watch.wait(0.2)
        scheduler.lines.put(b'{"runs":{"r1":{"seq":1,"state":"failed"}}}\n')

        assert watch.wait(10.0)


def test_feed_without_a_leader_is_not_live() -> None:
    feed = RunFeed(lambda: "", lambda: "")
    with feed.watch("r1") as watch:
        assert not watch.wait(0.01)
        assert not feed.is_live
    feed.close()


def test_feed_starts_no_thread_before_somebody_watches(feed: RunFeed) -> None:
    assert "run-feed" not in {thread.name for thread in threading.enumerate()}
    assert not feed.is_live


def test_hint_names_the_runs_and_shows_the_secret(scheduler: FakeScheduler) -> None:
    client = SchedulerClient(lambda: scheduler.server.url, lambda: "secret")

    client.hint(["r1"], has_commands=True)
    client.hint(["r2"])

    assert [request.body for request in scheduler.requests] == [
        b'{"runs":["r1"],"commands":true}',
        b'{"runs":["r2"],"commands":false}',
    ]
    assert scheduler.requests[0].headers["x-dagengine-secret"] == "secret"
    client.close()


def test_lost_hint_is_no_error() -> None:
    SchedulerClient(lambda: "", lambda: "").hint(["r1"])
    SchedulerClient(lambda: "http://127.0.0.1:9", lambda: "").hint(["r1"])


def test_call_without_a_leader_asks_to_come_again() -> None:
    client = SchedulerClient(lambda: "", lambda: "")

    with pytest.raises(UnavailableError, match="No scheduler leads") as caught:
        client.send("POST", "/internal/v1/reports", b"{}")

    assert caught.value.headers == {"Retry-After": "1"}


def test_connection_to_the_leader_is_kept(scheduler: FakeScheduler) -> None:
    client = SchedulerClient(lambda: scheduler.server.url, lambda: "secret")

    for _ in range(3):
        assert client.send("POST", "/internal/v1/reports", b"{}").status == 202

    assert len(client._idle) == 1
    client.close()


class LateEvent(threading.Event):
    """Is set in the moment in which the time of a wait is over."""

    def wait(self, timeout: float | None = None) -> bool:
        was_set = self.is_set()
        self.set()
        return was_set


def test_news_that_come_as_the_time_is_over_are_told_by_the_next_wait() -> None:
    watch = Watch()
    watch._event = LateEvent()

    assert [watch.wait(0.0), watch.wait(0.0)] == [False, True]
