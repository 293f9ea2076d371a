"""Watches a cluster from outside while faults happen: when did which work move on?"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dag_engine.storage import tables
from dag_engine.storage.database import Database
from dag_engine.storage.errors import StorageError

POLL_S = 0.05
OPEN_STATES = frozenset({"queued", "running"})
_KEPT = 5000


@dataclass(frozen=True, slots=True)
class Seen:
    """Something that had happened when it was looked for: `at` is the moment of the look.

    `what` is `event` (committed by a scheduler) or `ack` (a 202 that the client has). `place` is
    the operator engine of the attempt, or the dag engine that answered; empty where there is none.
    `known_since` is when the first event of the attempt was seen.
    """

    at: float
    what: str
    place: str = ""
    attempt_id: str = ""
    state: str = ""
    known_since: float = 0.0


class Probe:
    """Looks into the database and the client's log, every moment, in a thread of its own."""

    def __init__(self, open_database: Callable[[], Database], client_log: Path) -> None:
        self._open_database = open_database
        self._client_log = client_log
        self._log_read = 0
        self._changed = threading.Condition()
        self._seen: deque[Seen] = deque(maxlen=_KEPT)
        self._heads: dict[str, int] = {}
        self._open: dict[str, Seen] = {}
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe")

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopped.set()
        self._thread.join(30)

    def wait_for(
        self, is_meant: Callable[[Seen], bool], since: float, timeout_s: float
    ) -> Seen | None:
        """Wait for something that was seen after a moment; None where it does not come in time."""
        found: list[Seen] = []

        def look() -> bool:
            found[:] = [seen for seen in self._seen if seen.at > since and is_meant(seen)]
            return bool(found)

        with self._changed:
            self._changed.wait_for(look, timeout_s)
        return found[0] if found else None

    def has_seen(self, is_meant: Callable[[Seen], bool], since: float, until: float) -> bool:
        """Tell whether something was seen between two moments."""
        with self._changed:
            return any(since < seen.at <= until and is_meant(seen) for seen in self._seen)

    def find_open(self, engine: str) -> set[str]:
        """Find the attempts at an operator engine that have not ended, as far as was seen."""
        with self._changed:
            return {seen.attempt_id for seen in self._open.values() if seen.place == engine}

    def is_open(self, attempt_id: str) -> bool:
        """Tell whether an attempt was seen to begin and not to end."""
        with self._changed:
            return attempt_id in self._open

    def _run(self) -> None:
        database = self._open_database()
        try:
            while not self._is_stopped.wait(POLL_S):
                news = list(self._read_log())
                # The database is among what is disturbed.
                with contextlib.suppress(StorageError):
                    found, self._heads = database.read(self._look, deadline_s=1.0)
                    news += found
                if news:
                    with self._changed:
                        self._seen.extend(map(self._note, news))
                        self._changed.notify_all()
        finally:
            database.close()

    def _note(self, seen: Seen) -> Seen:
        """Keep track of which attempts are open."""
        first = self._open.get(seen.attempt_id)
        if first is not None:
            seen = replace(seen, known_since=first.known_since)
        elif seen.attempt_id:
            seen = replace(seen, known_since=seen.at)
        if seen.state in OPEN_STATES:
            self._open[seen.attempt_id] = seen
        else:
            self._open.pop(seen.attempt_id, None)
        return seen

    def _read_log(self) -> Iterator[Seen]:
        if not self._client_log.exists():
            return
        with self._client_log.open("rb") as file:
            file.seek(self._log_read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._log_read += len(line)
                entry = json.loads(line)
                if entry["what"] == "acked":
                    yield Seen(entry["at"], "ack", f"dag-{'ab'[entry['api']]}")

    def _look(self, connection: sa.Connection) -> tuple[list[Seen], dict[str, int]]:
        """Read the events that are new, of the runs that were open at the last look or are now.

        Returns also how far each run has been read: a look that breaks off half-way has read
        nothing, and is repeated.
        """
        heads = dict(self._heads)
        runs = tables.runs.c
        open_now = dict(
            connection.execute(
                sa.select(runs.run_id, runs.last_seq).where(runs.ended_at.is_(None))
            ).all()
        )
        news: list[Seen] = []
        for run_id in {*open_now, *heads}:
            seq = heads.get(run_id, 0)
            if open_now.get(run_id) != seq:
                rows = self._read_events(connection, run_id, seq)
                news += [seen for _, seen in rows]
                heads[run_id] = max([seq, *(number for number, _ in rows)])
        return news, {run_id: seq for run_id, seq in heads.items() if run_id in open_now}

    @staticmethod
    def _read_events(connection: sa.Connection, run_id: str, seq: int) -> list[tuple[int, Seen]]:
        events, tasks, attempts = tables.events.c, tables.tasks.c, tables.attempts.c
        query = (
            sa.select(
                events.seq,
                events.to_state,
                tasks.idx,
                events.attempt,
                attempts.engine_id,
            )
            .select_from(tables.events)
            .outerjoin(
                tables.tasks,
                (tasks.run_id == events.run_id) & (tasks.operator == events.operator),
            )
            .outerjoin(
                tables.attempts,
                (attempts.run_id == events.run_id)
                & (attempts.idx == tasks.idx)
                & (attempts.attempt == events.attempt),
            )
            .where(events.run_id == run_id, events.seq > seq)
            .order_by(events.seq)
        )
        now = time.time()
        return [(row.seq, _make_seen(now, run_id, row)) for row in connection.execute(query)]


def _make_seen(now: float, run_id: str, row: Any) -> Seen:
    return Seen(
        at=now,
        what="event",
        place=row.engine_id or "",
        attempt_id="" if row.idx is None else f"{run_id}.{row.idx}.{row.attempt}",
        state=row.to_state,
    )
