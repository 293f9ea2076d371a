"""What a scheduler counts of its own work, for metrics and health."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from dag_engine.core.changes import Batch
from executors.base import Verdict

BOUNDS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
BOUNDS_ROWS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
_ENDS = frozenset({"succeeded", "failed", "cancelled", "skipped", "upstream_failed", "retrying"})
_JUMP_S = 2.0


class _Histogram:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def note(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def show(self) -> dict[str, Any]:
        return {"bounds": self._bounds, "counts": self._counts, "sum": self._sum}


class Figures:
    """Counts since the start of the process; the loop's thread counts, any thread may look.

    `now_s` and `moment_s` are the monotonic and the wall clock.
    """

    def __init__(
        self,
        now_s: Callable[[], float] = time.monotonic,
        moment_s: Callable[[], float] = time.time,
    ) -> None:
        self._now_s = now_s
        self._moment_s = moment_s
        self._lock = threading.Lock()
        self._commits = _Histogram(BOUNDS_S)
        self._rows = _Histogram(BOUNDS_ROWS)
        self._verdicts: Counter[str] = Counter()
        self._ends: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[str] = Counter()
        self._committing_since: float | None = None
        self._offset = moment_s() - now_s()
        self._n_jumps = 0
        self._last_jump_s = 0.0

    def commit(self, write: Callable[[Batch], None], batch: Batch) -> None:
        """Let a batch be written, and count it once it is."""
        began = self._committing_since = self._now_s()
        try:
            write(batch)
        finally:
            self._committing_since = None
        n_rows = len(batch.tasks) + len(batch.attempts) + len(batch.artifacts) + len(batch.events)
        with self._lock:
            self._commits.note(self._now_s() - began)
            self._rows.note(n_rows + len(batch.runs))
            for event in batch.events:
                if event.to_state in _ENDS and event.operator is not None:
                    self._ends[str(event.to_state), event.reason_code] += 1

    def note_verdicts(self, verdicts: Iterable[Verdict]) -> None:
        """Count what became of reports."""
        with self._lock:
            self._verdicts.update(verdict.verdict for verdict in verdicts)

    def note_refused(self, code: str) -> None:
        """Count a call that was refused, such as a registration with a foreign store."""
        with self._lock:
            self._refused[code] += 1

    def note_clock(self) -> None:
        """Compare the wall clock with the one that cannot be set, to see it jump."""
        offset = self._moment_s() - self._now_s()
        jump_s = offset - self._offset
        self._offset = offset
        if abs(jump_s) > _JUMP_S:
            self._n_jumps += 1
            self._last_jump_s = jump_s

    def show(self) -> dict[str, Any]:
        """Give everything as plain data."""
        since = self._committing_since
        with self._lock:
            return {
                "commits": self._commits.show(),
                "rows": self._rows.show(),
                "verdicts": dict(self._verdicts),
                "refused": dict(self._refused),
                "ends": [[state, reason, n] for (state, reason), n in self._ends.items()],
                "committing_s": 0.0 if since is None else max(0.0, self._now_s() - since),
                "clock_jumps": self._n_jumps,
                "last_clock_jump_s": self._last_jump_s,
            }
