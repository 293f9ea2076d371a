"""Answers that last: at most half of the threads serve them, so that short calls are always
answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from flask import Response, request

from dag_engine.api.calls import EVENT_STREAM
from dag_engine.api.errors import BadRequestError, UnavailableError

KEEP_ALIVE = b": still here\n\n"


class StreamSlots:
    """Counts the answers that last; beyond the limit the client is asked to come again.

    `note` is told of each that is opened (1) and closed (-1).
    """

    def __init__(self, limit: int, note: Callable[[int], None] = lambda _: None) -> None:
        self._limit = limit
        self._note = note
        self._lock = threading.Lock()
        self._taken = 0

    def take(self) -> None:
        """Take a place, or raise `UnavailableError`."""
        with self._lock:
            if self._taken >= self._limit:
                raise UnavailableError(
                    "too_many_streams",
                    f"This process serves {self._limit} waiting answers already.",
                    2,
                )
            self._taken += 1
        self._note(1)

    def free(self) -> None:
        """Give the place back."""
        with self._lock:
            self._taken -= 1
        self._note(-1)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a place for a while."""
        self.take()
        try:
            yield
        finally:
            self.free()


class _Stream:
    """A generator that gives its place back exactly once, also where it was never begun."""

    def __init__(self, pieces: Generator[bytes], slots: StreamSlots) -> None:
        self._pieces = pieces
        self._slots = slots
        self._is_open = True

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        """End the stream; called by the server when the client is gone, too."""
        self._pieces.close()
        if self._is_open:
            self._is_open = False
            self._slots.free()


def find_beginning(asked: int) -> int:
    """Tell where a stream begins: where it was asked for, or where a broken one had come to."""
    came = request.headers.get("Last-Event-ID", "")
    if not came:
        return asked
    if not (came.isascii() and came.isdigit() and len(came) < 16):
        raise BadRequestError("bad_last_event_id", "Last-Event-ID was expected to be a number.")
    return max(asked, int(came))


def event_answer(pieces: Generator[bytes], slots: StreamSlots) -> Response:
    """Answer with Server-Sent Events that hold one of the places until they end."""
    slots.take()
    stream = _Stream(pieces, slots)
    response = Response(iter(stream), content_type=f"{EVENT_STREAM}; charset=utf-8")
    response.call_on_close(stream.close)
    response.headers["X-Accel-Buffering"] = "no"
    return response


def event(data: Any, *, kind: str = "", number: int | None = None) -> bytes:
    """Write one event; JSON holds no line break, so one data line is enough."""
    head = (f"id: {number}\n" if number is not None else "") + (f"event: {kind}\n" if kind else "")
    return head.encode() + b"data: " + msgspec.json.encode(data) + b"\n\n"
