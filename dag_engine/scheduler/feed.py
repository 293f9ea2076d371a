"""Tells the api processes at once which runs have changed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import msgspec

from dag_engine.core.changes import Batch

KEEP_ALIVE_S = 5.0


class Feed:
    """Fans one line of JSON per commit out to every subscriber."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: set[queue.SimpleQueue[bytes | None]] = set()

    def publish(self, batch: Batch) -> None:
        """Tell what a committed batch changed: for each run its last event number and state."""
        if not self._subscribers or not batch.runs:
            return
        runs = {
            row.run_id: {"seq": row.last_seq, "state": row.state} for row in batch.runs.values()
        }
        line = msgspec.json.encode({"runs": runs}) + b"\n"
        with self._lock:
            for subscriber in self._subscribers:
                subscriber.put(line)

    def subscribe(self) -> Iterator[bytes]:
        """Yield lines until the feed is closed; an empty object every few seconds keeps alive."""
        lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with self._lock:
            self._subscribers.add(lines)
        try:
            yield b"{}\n"
            while True:
                try:
                    line = lines.get(timeout=KEEP_ALIVE_S)
                except queue.Empty:
                    line = b"{}\n"
                if line is None:
                    return
                yield line
        finally:
            with self._lock:
                self._subscribers.discard(lines)

    def close(self) -> None:
        """End every subscription."""
        with self._lock:
            for subscriber in self._subscribers:
                subscriber.put(None)
