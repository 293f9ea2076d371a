"""Reads the logs of attempts: from the store, else from the operator engine that holds them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from urllib.parse import quote

import msgspec

from dag_engine.api.streams import KEEP_ALIVE, event
from dag_engine.storage.errors import DatabaseUnavailableError
from executors.base import LogChunk
from executors.log_reading import cut_tail, read_chunk
from executors.store import get_local_path, is_local, make_log_url, open_url
from executors.transport.errors import ConnectionFailedError
from executors.transport.http_client import HttpClient

log = logging.getLogger(__name__)

LIMIT_BYTES = 1024 * 1024
_ENGINE_TIMEOUT_S = 5.0
_LOOK_AGAIN_S = 0.3
_QUIET_S = 15.0


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Whose log is read, and where it may be found."""

    store_url: str
    run_id: str
    index: int
    attempt: int
    engine_url: str
    engine_incarnation: str
    is_over: bool


def read_log(place: LogPlace, offset: int, limit: int) -> LogChunk:
    """Read a piece of a log; one that is nowhere yet is empty."""
    url = make_log_url(place.store_url, place.run_id, place.index, place.attempt)
    try:
        if is_local(url):
            return read_chunk(get_local_path(url), offset, limit, is_over=place.is_over)
        if place.is_over:
            return _read_remote(url, offset, limit)
    except FileNotFoundError:
        log.debug("log_not_in_store run_id=%s index=%d", place.run_id, place.index)
    chunk = _ask_engine(place, offset, limit)
    if chunk is None or (place.is_over and not chunk.text):
        # an executor may have forgotten the attempt, and then cannot say that this was all
        return LogChunk(offset=offset, next_offset=offset, is_complete=place.is_over)
    return chunk


def _read_remote(url: str, offset: int, limit: int) -> LogChunk:
    with open_url(url) as file:
        size = file.seek(0, 2)
        file.seek(min(offset, size))
        data: bytes = file.read(limit)
    end = min(offset, size) + len(data)
    if end < size:
        data = data[: len(data) - cut_tail(data)]
        end = min(offset, size) + len(data)
    return LogChunk(
        text=data.decode("utf-8", "replace"),
        offset=offset,
        next_offset=end,
        size_bytes=size,
        is_complete=end >= size,
    )


def _ask_engine(place: LogPlace, offset: int, limit: int) -> LogChunk | None:
    if not place.engine_url:
        return None
    attempt_id = quote(f"{place.run_id}.{place.index}.{place.attempt}")
    path = f"/tasks/{attempt_id}/log?offset={offset}&limit={limit}"
    client = HttpClient(
        place.engine_url, timeout_s=_ENGINE_TIMEOUT_S, token=place.engine_incarnation
    )
    try:
        reply = client.request("GET", path)
        return msgspec.json.decode(reply.body, type=LogChunk) if reply.status == 200 else None
    except (ConnectionFailedError, msgspec.DecodeError) as error:
        log.info("log_not_at_engine attempt_id=%s detail=%s", attempt_id, error)
        return None
    finally:
        client.close()


class LogFollower:
    """Follows a log until the attempt is over and all of it is told.

    Parameters
    ----------
    place : LogPlace
        Where the log is.
    is_over : callable
        Looks up anew whether the attempt is over.
    is_stopping : callable
        Tells whether to end before the log does.
    offset : int
        Where to begin, in bytes.
    """

    def __init__(
        self,
        place: LogPlace,
        is_over: Callable[[], bool],
        is_stopping: Callable[[], bool],
        offset: int,
    ) -> None:
        self._place = place
        self._is_over = is_over
        self._is_stopping = is_stopping
        self._offset = offset

    def events(self) -> Generator[bytes]:
        """Yield the pieces as events; the last one is `end`."""
        told_at = time.monotonic()
        while not self._is_stopping():
            chunk = self._read()
            if chunk.text:
                self._offset = chunk.next_offset
                told_at = time.monotonic()
                told = {"text": chunk.text, "next_offset": chunk.next_offset}
                yield event(told, number=chunk.next_offset)
            if chunk.is_complete:
                yield event({"next_offset": self._offset}, kind="end")
                return
            if not chunk.text:
                if time.monotonic() - told_at > _QUIET_S:
                    told_at = time.monotonic()
                    yield KEEP_ALIVE
                time.sleep(_LOOK_AGAIN_S)

    def _read(self) -> LogChunk:
        """Read the next piece; whether the attempt is over is asked first, so that nothing is
        written after the piece that is taken for the last one. Without the database the log goes
        on, as one of an attempt that still runs.
        """
        try:
            if not self._place.is_over and self._is_over():
                self._place = replace(self._place, is_over=True)
        except DatabaseUnavailableError as error:
            log.warning("log_end_unknown run_id=%s detail=%s", self._place.run_id, error.detail)
        return read_log(self._place, self._offset, LIMIT_BYTES)
