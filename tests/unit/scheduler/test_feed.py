"""What the api processes hear of the runs that commits change, and when."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from dag_engine.core.changes import Batch, RunRow
from dag_engine.scheduler import feed as scheduler_feed
from dag_engine.scheduler.feed import Feed


def commit_of(*runs: tuple[str, int, str]) -> Batch:
    return Batch(
        runs={
            run_id: RunRow(run_id, state, "", "", None, None, seq, {})
            for run_id, seq, state in runs
        }
    )


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    """A feed that gathers for ever what may wait."""
    monkeypatch.setattr(scheduler_feed, "GATHER_S", 3600.0)
    return Feed()


def follow(feed: Feed) -> Iterator[bytes]:
    """Subscribe; the first line only says that the feed is there."""
    lines = feed.subscribe()
    assert next(lines) == b"{}\n"
    return lines


def test_first_news_after_a_silence_are_told_at_once(feed: Feed) -> None:
    lines = follow(feed)

    feed.publish(commit_of(("a", 1, "running")))

    assert json.loads(next(lines)) == {"runs": {"a": {"seq": 1, "state": "running"}}}


def test_news_on_the_way_gather_into_one_line(feed: Feed) -> None:
    lines = follow(feed)

    feed.publish(commit_of(("a", 1, "running"), ("b", 1, "running")))
    feed.publish(commit_of(("a", 2, "running")))

    assert json.loads(next(lines)) == {
        "runs": {"a": {"seq": 2, "state": "running"}, "b": {"seq": 1, "state": "running"}}
    }


def test_gathered_news_are_told_when_the_time_is_over() -> None:
    feed = Feed()
    lines = follow(feed)
    feed.publish(commit_of(("a", 1, "running")))
    next(lines)

    feed.publish(commit_of(("a", 2, "running")))

    assert json.loads(next(lines))["runs"]["a"]["seq"] == 2


def test_end_of_a_run_waits_for_nothing(feed: Feed) -> None:
    lines = follow(feed)
    feed.publish(commit_of(("a", 1, "running")))
    next(lines)

    feed.publish(commit_of(("b", 1, "running")))
    feed.publish(commit_of(("a", 2, "succeeded")))

    assert json.loads(next(lines))["runs"] == {
        "a": {"seq": 2, "state": "succeeded"},
        "b": {"seq": 1, "state": "running"},
    }


def test_end_wakes_a_line_that_is_being_gathered(feed: Feed) -> None:
    lines = follow(feed)
    feed.publish(commit_of(("a", 1, "running")))
    next(lines)
    feed.publish(commit_of(("a", 2, "running")))
    later = threading.Timer(0.1, feed.publish, [commit_of(("a", 3, "failed"))])
    later.start()

    assert json.loads(next(lines))["runs"]["a"] == {"seq": 3, "state": "failed"}


def test_every_subscriber_hears_everything(feed: Feed) -> None:
    both = [follow(feed), follow(feed)]

    feed.publish(commit_of(("a", 1, "succeeded")))

    assert [json.loads(next(lines))["runs"]["a"]["seq"] for lines in both] == [1, 1]


def test_silence_keeps_alive_and_the_end_ends(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_feed, "KEEP_ALIVE_S", 0.01)
    lines = follow(feed)

    assert next(lines) == b"{}\n"
    feed.close()
    assert list(lines) == []
