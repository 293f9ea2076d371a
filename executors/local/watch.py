"""Watches attempts while they run: time, memory, the size of their logs, progress."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable

import msgspec

from executors.local import cgroups, pens, proctree
from executors.local.book import Attempt, AttemptBook, Cause
from executors.local.loop import Loop, Timer
from executors.local.options import PoolSettings, log_path
from executors.plain_files import open_plain

log = logging.getLogger(__name__)

_MEMORY_EVERY_S = 0.1
_LOG_EVERY_S = 0.25
_LOG_AT_LEAST_S = 0.01
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
    on_late, on_excess : callable
        Called with an attempt that must be killed: over its time; over another limit, with the
        cause and a sentence.
    """

    def __init__(
        self,
        loop: Loop,
        book: AttemptBook,
        settings: PoolSettings,
        on_late: Callable[[Attempt], None],
        on_excess: Callable[[Attempt, Cause, str], None],
    ) -> None:
        self._loop = loop
        self._book = book
        self._options = settings.options
        self._cages = settings.cages
        self._pens = settings.pens
        self._logs = settings.executor.logs
        self._on_late = on_late
        self._on_excess = on_excess
        self._watched: dict[str, Attempt] = {}
        self._timer: Timer | None = None
        self._tick_at = 0.0
        self._oom_counters = cgroups.find_oom_counters()
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
        attempt.log_seen_at = time.monotonic() - waited_s
        self._watched[attempt.id] = attempt
        if self._timer is None:
            self._tick()
        else:  # not only when it is the others' turn: it may write a gigabyte until then
            self._tick_within(self._check(attempt))

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
        self._timer = None
        if not self._watched:
            return
        self._oom_kills.append((time.monotonic(), cgroups.count_oom_kills(self._oom_counters)))
        self._tick_within(min(self._check(attempt) for attempt in self._watched.values()))

    def _tick_within(self, pause_s: float) -> None:
        at = time.monotonic() + pause_s
        if self._timer is not None:
            if self._tick_at <= at:
                return
            self._timer.cancel()
        self._tick_at, self._timer = at, self._loop.call_after(pause_s, self._tick)

    def _check(self, attempt: Attempt) -> float:
        """Look at an attempt, and tell when to look again."""
        memory_s = _MEMORY_EVERY_S if self._check_memory(attempt) else _LOG_EVERY_S
        return min(memory_s, self._check_processes(attempt), self._check_log(attempt))

    def _check_memory(self, attempt: Attempt) -> bool:
        limit_mb = attempt.limit_mb
        if limit_mb is None or attempt.worker is None or attempt.cause:
            return False
        if self._waits_for_killed(attempt):
            self._on_excess(attempt, "memory", cgroups.limit_sentence(limit_mb))
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
                self._on_excess(attempt, "memory", detail)
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

    def _check_processes(self, attempt: Attempt) -> float:
        """Look whether it has too many processes, and tell when to look again."""
        if attempt.worker is None or attempt.cause:
            return _LOG_EVERY_S
        limit, pid = self._options.process_limit, attempt.worker.pid
        if self._pens is not None and self._pens.has(pid):
            if self.has_refused(attempt, pid):
                self._on_excess(attempt, "processes", pens.limit_sentence(limit))
            return _LOG_EVERY_S
        if proctree.count_tasks([pid, *proctree.descendants_of(pid)]) > limit:
            self._on_excess(attempt, "processes", pens.limit_sentence(limit))
        return _MEMORY_EVERY_S

    def has_refused(self, attempt: Attempt, worker_pid: int) -> bool:
        """Whether the kernel has refused to start something for an attempt, at its limit."""
        if self._pens is not None and self._pens.has_refused(worker_pid):
            return True
        if self._cages is None or attempt.limit_mb is None:
            return False
        return pens.has_refused(self._cages.path(attempt.id))

    def has_kernel_killed(self) -> bool:
        """Whether the kernel killed a process for want of memory within the last moments."""
        oldest_at = time.monotonic() - _OOM_WINDOW_S
        counts = [count for at, count in self._oom_kills if at >= oldest_at]
        return bool(counts) and cgroups.count_oom_kills(self._oom_counters) > counts[0]

    def _check_log(self, attempt: Attempt) -> float:
        """Cut the log, and tell when to look again: so soon that not much more than the limit is
        written in the meantime, or a gigabyte a second would fill the disk between two looks.
        """
        now, written = time.monotonic(), self._cut_log(attempt)
        grown, passed_s = written - attempt.written_log_bytes, now - attempt.log_seen_at
        attempt.written_log_bytes, attempt.log_seen_at = written, now
        if grown <= 0:
            return _LOG_EVERY_S
        return max(_LOG_AT_LEAST_S, self._options.log_limit_bytes * passed_s / grown)

    def _cut_log(self, attempt: Attempt) -> int:
        """Cut a log that is too long; the attempt goes on. Returns how much was written so far."""
        path = log_path(self._logs, attempt.id)
        try:
            with open(open_plain(path, os.O_WRONLY), "wb", buffering=0) as file:
                size_bytes = os.fstat(file.fileno()).st_size
                if size_bytes > self._options.log_limit_bytes:
                    file.truncate(self._options.log_limit_bytes)
                    attempt.dropped_log_bytes += size_bytes - self._options.log_limit_bytes
                    size_bytes = self._options.log_limit_bytes
        except FileNotFoundError:
            size_bytes = 0
        except OSError as error:
            log.warning("log_not_checked path=%s error=%s", path, error)
            size_bytes = 0
        return size_bytes + attempt.dropped_log_bytes

    def finish_log(self, attempt: Attempt) -> int:
        """Cut the log of an attempt that has ended, say so at its end, and return its size."""
        self._cut_log(attempt)
        path = log_path(self._logs, attempt.id)
        try:
            if attempt.dropped_log_bytes:
                log_file = open_plain(path, os.O_WRONLY | os.O_APPEND)
                with open(log_file, "a", encoding="utf-8") as file:
                    file.write(truncation_mark(self._options.log_limit_bytes, attempt))
            return os.lstat(path).st_size
        except OSError:  # never opened, or the disk is full
            return 0


def truncation_mark(limit_bytes: int, attempt: Attempt) -> str:
    """Last line of a log that was cut. What came between a look and its cut was not counted."""
    return (
        f"\n[log cut: it reached its limit of {limit_bytes} bytes;"
        f" at least {attempt.dropped_log_bytes} more were dropped]\n"
    )
