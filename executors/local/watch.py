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
from executors.local.options import PoolPaths, PoolSettings, log_path
from executors.local.unnamed_logs import UnnamedLogs
from executors.plain_files import open_plain

log = logging.getLogger(__name__)

_MEMORY_EVERY_S = 0.1
_LOG_EVERY_S = 0.25
_LOG_AT_LEAST_S = 0.01
_TOGETHER_S = 0.01
"""Looks that are due so soon after each other are taken at once."""
_FIRST_LOOK_S = 0.05
_PROGRESS_EVERY_S = 0.5
_SLEEP_S = 1.0
_LIMIT_S = 10.0
_N_REFUSED_IN_A_ROW = 2
"""When an attempt that has met a limit of the kernel is ended: after so long a sleep, so long
after it, or when starts were refused to it before so many looks running."""
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
        self._process_limit = settings.options.process_limit
        self._cages = settings.cages
        self._pens = settings.pens
        self._logs = settings.executor.logs
        paths = PoolPaths(settings.executor.home, settings.name)
        self._unnamed = UnnamedLogs(self._logs, paths.socket)
        self._on_late = on_late
        self._on_excess = on_excess
        self._watched: dict[str, Attempt] = {}
        self._timer: Timer | None = None
        self._oom_counters = cgroups.find_oom_counters(self._pens.folder if self._pens else "")
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
        # Not only when it is the others' turn: it may write a gigabyte until then.
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
        """Look at the attempts that are due, and come back when the next one is."""
        self._watched = {key: a for key, a in self._watched.items() if a.stage == "started"}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._watched:
            return
        now = time.monotonic()
        self._note_oom_kills(now)
        for attempt in self._watched.values():
            if attempt.look_at <= now + _TOGETHER_S:
                attempt.look_at = now + self._check(attempt)
        next_at = min(attempt.look_at for attempt in self._watched.values())
        self._timer = self._loop.call_after(next_at - time.monotonic(), self._tick)

    def _check(self, attempt: Attempt) -> float:
        """Look at an attempt, and tell when to look again."""
        return min(self._check_limits(attempt), self._check_log(attempt))

    def _check_limits(self, attempt: Attempt) -> float:
        """Look whether an attempt is over a limit, and tell when to look again."""
        if attempt.worker is None or attempt.cause:
            return _LOG_EVERY_S
        worker_pid = attempt.worker.pid
        n_refused = self._count_refusals(attempt, worker_pid)
        is_penned = self._pens is not None and self._pens.has(worker_pid)
        if is_penned and not n_refused and attempt.limit_mb is None:
            return _LOG_EVERY_S
        pids = [worker_pid, *proctree.descendants_of(worker_pid)]
        was_killed = self.killing(attempt) == "limit"
        if was_killed or n_refused:
            is_over = self._is_stuck(attempt, n_refused, pids)
        else:
            is_over = not is_penned and proctree.count_tasks(pids) > self._process_limit
        if is_over and was_killed:
            self._on_excess(attempt, "memory", cgroups.limit_sentence(attempt.limit_mb or 0))
        elif is_over:
            self._on_excess(attempt, "processes", pens.limit_sentence(self._process_limit))
        elif attempt.limit_mb is not None:
            self._check_memory(attempt, attempt.limit_mb, pids)
        return _MEMORY_EVERY_S

    def _check_memory(self, attempt: Attempt, limit_mb: int, pids: list[int]) -> None:
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

    def _is_stuck(self, attempt: Attempt, n_refused: int, pids: list[int]) -> bool:
        """Whether an attempt that has met a limit of the kernel will not end by itself: it goes on
        starting what is refused, or all of it sleeps, maybe waiting for what was killed, or it has
        had its time.

        One that fails of it by itself can say more, and one that can do without may succeed. What
        waits for a core does not sleep.
        """
        now = time.monotonic()
        if attempt.hit_at is None:
            attempt.hit_at = now
        is_refused_again = n_refused > attempt.n_refused
        attempt.n_refused = n_refused
        attempt.n_refused_in_a_row = attempt.n_refused_in_a_row + 1 if is_refused_again else 0
        if not proctree.is_asleep(pids):
            attempt.asleep_since = now
        return (
            attempt.n_refused_in_a_row >= _N_REFUSED_IN_A_ROW
            or now - max(attempt.hit_at, attempt.asleep_since) >= _SLEEP_S
            or now - attempt.hit_at >= _LIMIT_S
        )

    def killing(self, attempt: Attempt) -> cgroups.Killing:
        """Tell whether the kernel killed a process in the cgroup of the attempt, and why."""
        if self._cages is None or attempt.limit_mb is None:
            return ""
        return self._cages.killing(attempt.id)

    def has_refused(self, attempt: Attempt, worker_pid: int) -> bool:
        """Whether the kernel has refused to start something for an attempt, at its limit."""
        return self._count_refusals(attempt, worker_pid) > 0

    def _count_refusals(self, attempt: Attempt, worker_pid: int) -> int:
        n_refused = self._pens.count_refusals(worker_pid) if self._pens is not None else 0
        if self._cages is not None and attempt.limit_mb is not None:
            n_refused += pens.count_refusals(self._cages.path(attempt.id), self._process_limit)
        return n_refused

    def _note_oom_kills(self, now: float) -> None:
        """Count, but only so often that what is kept covers the window, however often we look."""
        if not self._oom_kills or now - self._oom_kills[-1][0] >= _OOM_WINDOW_S / _N_OOM_SAMPLES:
            self._oom_kills.append((now, cgroups.count_oom_kills(self._oom_counters)))

    def has_kernel_killed(self) -> bool:
        """Whether the kernel killed a process for want of memory within the last moments."""
        oldest_at = time.monotonic() - _OOM_WINDOW_S
        counts = [count for at, count in self._oom_kills if at >= oldest_at]
        return bool(counts) and cgroups.count_oom_kills(self._oom_counters) > counts[0]

    def _check_log(self, attempt: Attempt) -> float:
        """Cut the log, and tell when to look again: so soon that not much more than the limit is
        written in the meantime, or a gigabyte a second would fill the disk between two looks.
        """
        if attempt.worker is not None:  # each time: a worker that waits for a core opens it late
            self.name_log(attempt, attempt.worker.pid)
        now, written = time.monotonic(), self._cut_log(attempt)
        grown, passed_s = written - attempt.written_log_bytes, now - attempt.log_seen_at
        attempt.written_log_bytes, attempt.log_seen_at = written, now
        if grown <= 0:
            return _LOG_EVERY_S
        return max(_LOG_AT_LEAST_S, self._options.log_limit_bytes * passed_s / grown)

    def _cut_log(self, attempt: Attempt) -> int:
        """Cut a log that is too long; the attempt goes on. Returns how much was written so far."""
        path, limit_bytes = log_path(self._logs, attempt.id), self._options.log_limit_bytes
        try:
            size_bytes = os.lstat(path).st_size
            if size_bytes > limit_bytes:
                with open(open_plain(path, os.O_WRONLY), "wb", buffering=0) as file:
                    size_bytes = os.fstat(file.fileno()).st_size
                    if size_bytes > limit_bytes:
                        file.truncate(limit_bytes)
        except FileNotFoundError:
            size_bytes = 0
        except OSError as error:
            log.warning("log_not_checked path=%s error=%s", path, error)
            size_bytes = 0
        attempt.dropped_log_bytes += max(0, size_bytes - limit_bytes)
        return min(size_bytes, limit_bytes) + attempt.dropped_log_bytes

    def name_log(self, attempt: Attempt, worker_pid: int) -> None:
        """See to it that the log of an attempt bears its name: people want to follow it, or its
        worker has died.
        """
        try:
            self._unnamed.give_name(worker_pid, attempt.id)
        except OSError as error:
            log.warning("log_not_named attempt_id=%s error=%s", attempt.id, error)

    def forget_worker(self, worker_pid: int) -> None:
        """Remove what a worker that has gone left for an attempt that it never got."""
        self._unnamed.remove(worker_pid)

    def clear_logs(self) -> None:
        """Remove what all workers of this pool left so, when none of them lives."""
        self._unnamed.clear()

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
