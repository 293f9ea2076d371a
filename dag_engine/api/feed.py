"""One feed from the scheduler for each api process: it wakes whoever waits for a run."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import msgspec

from dag_engine.api.errors import ApiError
from dag_engine.api.guard import SECRET_HEADER
from dag_engine.core.states import FINAL_RUN_STATES

log = logging.getLogger(__name__)

FEED_PATH = "/internal/v1/feed"
_SILENCE_S = 12.0
_RETRY_S = 1.0


class _News(msgspec.Struct):
    """How far a run is after a commit."""

    seq: int
    state: str


class _Line(msgspec.Struct):
    """One line of the feed: the runs that a commit changed."""

    runs: dict[str, _News] = {}


class Watch:
    """One waiter for one run; `state` is the last one told, empty where that is not known.

    With `is_for_end` it is not woken by what happens on the way: a run has several commits for each
    of its tasks.
    """

    def __init__(self, *, is_for_end: bool = False) -> None:
        self._event = threading.Event()
        self._is_for_end = is_for_end
        self.state = ""

    def wake(self, state: str) -> None:
        """Tell that something happened to the run."""
        if self._is_for_end and state and state not in FINAL_RUN_STATES:
            return
        self.state = state
        self._event.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until something happened since the last wait; false when the time is over."""
        has_news = self._event.wait(timeout_s)
        if has_news:
            # what comes just after the time was over is news for the next wait
            self._event.clear()
        return has_news


class RunFeed:
    """Keeps a connection to the scheduler's feed and wakes the watches of the runs it names.

    The thread starts with the first watch, so it is made after the fork of a worker. While the
    feed is not live, whoever waits must look into the database by itself.
    """

    def __init__(self, find_leader: Callable[[], str], secret: Callable[[], str]) -> None:
        self._find_leader = find_leader
        self._secret = secret
        self._lock = threading.Lock()
        self._watches: dict[str, set[Watch]] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._heard_at: float | None = None
        self._sock: socket.socket | None = None

    @property
    def is_live(self) -> bool:
        """Whether the scheduler has been heard lately."""
        heard_at = self._heard_at
        return heard_at is not None and time.monotonic() - heard_at < _SILENCE_S

    @contextmanager
    def watch(self, run_id: str, *, is_for_end: bool = False) -> Iterator[Watch]:
        """Watch a run; look at its state after entering, so that nothing falls between."""
        watch = Watch(is_for_end=is_for_end)
        with self._lock:
            self._watches.setdefault(run_id, set()).add(watch)
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._follow, name="run-feed", daemon=True)
                self._thread.start()
        try:
            yield watch
        finally:
            with self._lock:
                watches = self._watches[run_id]
                watches.discard(watch)
                if not watches:
                    del self._watches[run_id]

    def close(self) -> None:
        """Stop following."""
        self._closed.set()
        sock = self._sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                log.debug("feed_was_closed detail=%s", error)
        if self._thread is not None:
            self._thread.join(5.0)

    def _follow(self) -> None:
        while not self._closed.is_set():
            try:
                self._read_feed()
            except (OSError, http.client.HTTPException, msgspec.DecodeError, ApiError) as error:
                log.info("feed_broken detail=%s", error)
            except Exception:
                # the thread is all that wakes the waiters: it goes on whatever came
                log.exception("feed_failed")
            self._heard_at = None
            self._closed.wait(_RETRY_S)

    def _read_feed(self) -> None:
        leader = self._find_leader()
        if not leader:
            return
        parts = urlsplit(leader)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5.0)
        try:
            connection.connect()
            self._sock = connection.sock
            connection.sock.settimeout(_SILENCE_S)
            connection.request("GET", FEED_PATH, headers={SECRET_HEADER: self._secret()})
            reply = connection.getresponse()
            if reply.status != 200:
                raise http.client.HTTPException(f"the feed answered {reply.status}")
            is_first = True
            while line := reply.readline():
                self._heard_at = time.monotonic()
                self._wake(msgspec.json.decode(line, type=_Line))
                if is_first:
                    # what was committed before the feed began woke nobody: everybody looks once
                    self._wake_all()
                    is_first = False
        finally:
            self._sock = None
            connection.close()

    def _wake(self, line: _Line) -> None:
        with self._lock:
            told = [
                (watch, news.state)
                for run_id, news in line.runs.items()
                for watch in self._watches.get(run_id, ())
            ]
        for watch, state in told:
            watch.wake(state)

    def _wake_all(self) -> None:
        with self._lock:
            watches = [watch for group in self._watches.values() for watch in group]
        for watch in watches:
            watch.wake("")
