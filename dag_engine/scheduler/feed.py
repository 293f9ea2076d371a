"""Tells the api processes at once which runs have changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import msgspec

from dag_engine.core.changes import Batch
from dag_engine.core.states import FINAL_RUN_STATES

KEEP_ALIVE_S = 5.0
GATHER_S = 0.05
"""What happens on the way of a run is told at most this often: people look at it. Ends are told at
once: programs wait for them.
"""


class _News(msgspec.Struct, frozen=True):
    """How far a run is after a commit: its last event's number and its state."""

    seq: int
    state: str


class _Subscriber:
    """What one api process has still to hear; one thread takes it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._news: dict[str, _News] = {}
        self._is_urgent = False
        self._is_closed = False

    def put(self, news: dict[str, _News], *, is_urgent: bool) -> None:
        """Add news; the taker wakes up for the first and for what is urgent."""
        with self._changed:
            is_first = not self._news
            self._news.update(news)
            self._is_urgent = self._is_urgent or is_urgent
            if is_first or is_urgent:
                self._changed.notify()

    def take(self, not_before: float) -> dict[str, _News] | None:
        """Wait for news, which stay and gather until `not_before` unless they are urgent; nothing
        comes in a silence, None at the end.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._news or self._is_closed, KEEP_ALIVE_S)
            if self._news and not self._is_urgent:
                left_s = not_before - time.monotonic()
                self._changed.wait_for(lambda: self._is_urgent or self._is_closed, left_s)
            if self._is_closed:
                return None
            news, self._news, self._is_urgent = self._news, {}, False
            return news

    def close(self) -> None:
        """End it."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()


class Feed:
    """Fans out to every subscriber, as lines of JSON, what commits change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: set[_Subscriber] = set()

    def publish(self, batch: Batch) -> None:
        """Tell what a committed batch changed: for each run its last event number and state."""
        if not self._subscribers or not batch.runs:
            return
        news = {row.run_id: _News(row.last_seq, row.state) for row in batch.runs.values()}
        is_urgent = any(one.state in FINAL_RUN_STATES for one in news.values())
        with self._lock:
            for subscriber in self._subscribers:
                subscriber.put(news, is_urgent=is_urgent)

    def subscribe(self) -> Iterator[bytes]:
        """Yield lines until the feed is closed; an empty object every few seconds keeps alive."""
        subscriber = _Subscriber()
        with self._lock:
            self._subscribers.add(subscriber)
        try:
            yield b"{}\n"
            not_before = time.monotonic()
            while (news := subscriber.take(not_before)) is not None:
                not_before = time.monotonic() + GATHER_S
                yield (msgspec.json.encode({"runs": news}) if news else b"{}") + b"\n"
        finally:
            with self._lock:
                self._subscribers.discard(subscriber)

    def close(self) -> None:
        """End every subscription."""
        with self._lock:
            for subscriber in self._subscribers:
                subscriber.close()
