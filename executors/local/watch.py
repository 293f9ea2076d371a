"""Watches attempts while they run: time, memory, the size of their logs, progress."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable

import msgspec

from executors.local import cgroups, linux, proctree
from executors.local.book import Attempt, AttemptBook
from executors.local.loop import Loop
from executors.local.options import PoolSettings, log_path

log = logging.getLogger(__name__)

_MEMORY_EVERY_S = 0.1
_LOG_EVERY_S = 0.25
_FIRST_LOOK_S = 0.05
_PROGRESS_EVERY_S = 0.5
_HIT_GRACE_S = 1.0
_N_OOM_SAMPLES = 8
_OOM_WINDOW_S = 5.0


class Watch:
    """Looks after the attempts that run; costs nothing while none runs.

    Parameters
    ----------
    loop, book, settings : Loop, AttemptBook, PoolSettings
        Event loop, book, settings.
    on_late, on_too_large : callable
        Called with an attempt that must be killed: over its time, over its memory.
    """

    def __init__(
        self,
        loop: Loop,
        book: AttemptBook,
        settings: PoolSettings,
        on_late: Callable[[Attempt], None],
        on_too_large: Callable[[Attempt, str], None],
    ) -> None:
        self._loop = loop
        self._book = book
        self._options = settings.options
        self._cages = settings.cages
        self._logs = settings.executor.logs
        self._on_late = on_late
        self._on_too_large = on_too_large
        self._watched: dict[str, Attempt] = {}
        self._is_ticking = False
        self._oom_kills: deque[tuple[float, int]] = deque(maxlen=_N_OOM_SAMPLES)

    def begin(self, attempt: Attempt) -> None:
        """Watch an attempt that has just been handed to its worker."""
        attempt.limit_mb = self._options.memory_limit_mb(attempt.head.resources)
        if attempt.limit_mb is not None and self._cages is not None and attempt.worker is not None:
            attempt.held_bytes = proctree.own_memory_bytes(attempt.worker.pid)
        look_s = min(_FIRST_LOOK_S, self._options.start_report_s)
        attempt.timers.append(self._loop.call_after(look_s, lambda: self._look(attempt, look_s)))
        if attempt.head.timeout_s is not None:
            late = self._loop.call_after(attempt.head.timeout_s, lambda: self._on_late(attempt))
            attempt.timers.append(late)

    def _look(self, attempt: Attempt, waited_s: float) -> None:
        rest_s = self._options.start_report_s - waited_s
        if rest_s > 0:
            report = self._loop.call_after(rest_s, lambda: self._tell_start(attempt))
            attempt.timers.append(report)
        else:
            self._tell_start(attempt)
        self._watched[attempt.id] = attempt
        if not self._is_ticking:
            self._tick()

    def _tell_start(self, attempt: Attempt) -> None:
        if not attempt.is_start_told:
            self._book.tell_start(attempt)

    # --- progress ---------------------------------------------------------------------------------

    def note_progress(self, attempt: Attempt, outcome: bytes) -> None:
        """Tell progress at most twice a second; the last one is told in any case."""
        is_quiet = attempt.progress_timer is None
        attempt.progress = outcome
        if is_quiet:
            self._tell_progress(attempt)

    def _tell_progress(self, attempt: Attempt) -> None:
        attempt.progress_timer = None
        if attempt.stage != "started" or not attempt.progress:
            return
        self._tell_start(attempt)
        self._book.news.append(msgspec.Raw(attempt.progress))
        attempt.progress = b""
        timer = self._loop.call_after(_PROGRESS_EVERY_S, lambda: self._tell_progress(attempt))
        attempt.progress_timer = timer

    # --- memory and logs --------------------------------------------------------------------------

    def _tick(self) -> None:
        self._watched = {key: a for key, a in self._watched.items() if a.stage == "started"}
        self._is_ticking = bool(self._watched)
        if not self._is_ticking:
            return
        self._oom_kills.append((time.monotonic(), linux.count_kernel_oom_kills()))
        has_limit = False
        for attempt in self._watched.values():
            has_limit = self._check_memory(attempt) or has_limit
            self.cut_log(attempt)
        self._loop.call_after(_MEMORY_EVERY_S if has_limit else _LOG_EVERY_S, self._tick)

    def _check_memory(self, attempt: Attempt) -> bool:
        limit_mb = attempt.limit_mb
        if limit_mb is None or attempt.worker is None or attempt.cause:
            return False
        if self._waits_for_killed(attempt):
            self._on_too_large(attempt, cgroups.limit_sentence(limit_mb))
            return True
        pids = [attempt.worker.pid, *proctree.descendants_of(attempt.worker.pid)]
        limit_bytes = limit_mb * 1024 * 1024
        if self._cages is not None and self._cages.has(attempt.id):
            limit_bytes += attempt.held_bytes  # the kernel's limit is to be met first
        if sum(map(proctree.own_memory_bytes, pids)) > limit_bytes:
            # Pages shared with the template and among the task's processes were counted in full.
            used_bytes = sum(map(proctree.proportional_memory_bytes, pids))
            if used_bytes > limit_bytes:
                used_mb = used_bytes // (1024 * 1024)
                detail = f"The attempt used {used_mb} MiB of memory; its limit is {limit_mb} MiB."
                self._on_too_large(attempt, detail)
        return True

    def _waits_for_killed(self, attempt: Attempt) -> bool:
        """Whether one of its processes was killed at the limit a while ago, and the others go on:
        maybe they wait for it. One that fails of it by itself can say more.
        """
        if attempt.hit_at is None and self.killing(attempt) == "limit":
            attempt.hit_at = time.monotonic()
        return attempt.hit_at is not None and time.monotonic() > attempt.hit_at + _HIT_GRACE_S

    def killing(self, attempt: Attempt) -> cgroups.Killing:
        """Tell whether the kernel killed a process in the cgroup of the attempt, and why."""
        if self._cages is None or attempt.limit_mb is None:
            return ""
        return self._cages.killing(attempt.id)

    def has_kernel_killed(self) -> bool:
        """Whether the kernel killed a process for want of memory within the last moments."""
        oldest_at = time.monotonic() - _OOM_WINDOW_S
        counts = [count for at, count in self._oom_kills if at >= oldest_at]
        return bool(counts) and linux.count_kernel_oom_kills() > counts[0]

    def cut_log(self, attempt: Attempt) -> None:
        """Cut a log that is too long; the attempt goes on."""
        path = log_path(self._logs, attempt.id)
        try:
            excess = os.stat(path).st_size - self._options.log_limit_bytes
            if excess > 0:
                os.truncate(path, self._options.log_limit_bytes)
                attempt.dropped_log_bytes += excess
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                log.warning("log_not_checked path=%s error=%s", path, error)

    def finish_log(self, attempt: Attempt) -> int:
        """Cut the log of an attempt that has ended, say so at its end, and return its size."""
        self.cut_log(attempt)
        path = log_path(self._logs, attempt.id)
        try:
            if attempt.dropped_log_bytes:
                with open(path, "a", encoding="utf-8") as file:
                    file.write(truncation_mark(self._options.log_limit_bytes, attempt))
            return os.stat(path).st_size
        except OSError:  # never opened, or the disk is full
            return 0


def truncation_mark(limit_bytes: int, attempt: Attempt) -> str:
    """Last line of a log that was cut."""
    return (
        f"\n[log cut: it reached its limit of {limit_bytes} bytes;"
        f" {attempt.dropped_log_bytes} more bytes were dropped]\n"
    )
