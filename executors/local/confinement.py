"""A worker's side of its limits: memory, processes, open files."""

from __future__ import annotations

import os
import resource

import msgspec

from executors.base import FailureReason, Outcome, Task
from executors.local import cgroups, pens
from executors.local.options import PoolSettings


class Confinement:
    """Puts one worker and what it runs into cgroups, and says whether a limit was met.

    `error` says why the kernel does not keep a limit here; it is told once.
    """

    def __init__(self, settings: PoolSettings) -> None:
        self._options = settings.options
        self._process_limit = settings.options.process_limit
        self._cages = settings.cages
        self._pens = settings.pens
        self._pid = os.getpid()
        self._pen = ""
        self._refusals = -1
        self._refused_before = b""
        self._attempt_id = ""
        self._limit_mb: int | None = None
        self._error = ""
        self._is_error_told = False

    # --- for the life of the worker ---------------------------------------------------------------

    def begin(self) -> None:
        """Set what holds for every task."""
        self._limit_open_files()
        if self._pens is None:
            return
        try:
            self._pens.enter(self._pid)
            self._refusals = pens.open_refusals(self._pens.path(self._pid))
            self._refused_before = os.pread(self._refusals, 64, 0)
        except OSError as error:  # the limit is then kept by watching
            self._error = str(error)
        else:
            self._pen = self._pens.path(self._pid)

    def _limit_open_files(self) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self._options.max_open_files
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))

    # --- one attempt ------------------------------------------------------------------------------

    def enter(self, task: Task) -> None:
        """Enter the cgroup of an attempt with a memory limit."""
        limit_mb = self._options.memory_limit_mb(task.resources)
        if limit_mb is None or self._cages is None:
            return
        self._attempt_id = task.attempt_id
        try:
            self._cages.enter(task.attempt_id, limit_mb, self._process_limit)
        except OSError as error:  # the limit is then kept by watching
            self._error = str(error)
        else:
            self._limit_mb = limit_mb

    def leave(self, outcome: Outcome, retire: str) -> tuple[Outcome, str]:
        """Leave it again. Returns the outcome, which bears the name of the limit that made it fail;
        and why this worker should be replaced, which was `retire` so far.
        """
        if self._has_refused():
            limit = pens.limit_sentence(self._process_limit)
            outcome = _rename(outcome, "too_many_processes", limit, pens.HINT)
            retire = retire or "processes"
        if self._limit_mb is None or self._cages is None:
            return outcome, retire
        if self._cages.killing(self._attempt_id) == "limit":
            limit = cgroups.limit_sentence(self._limit_mb)
            outcome = _rename(outcome, "out_of_memory", limit, cgroups.HINT)
        self._limit_mb = None
        # With version 1 memory and processes are limited apart, and the pen was never left.
        home = self._pen if self._cages.version == 2 else ""
        has_left = self._cages.leave(self._attempt_id, home)
        return outcome, retire if has_left or retire == "children" else "cgroup"

    def _has_refused(self) -> bool:
        if self._limit_mb is not None and self._cages is not None and self._cages.version == 2:
            return pens.count_refusals(self._cages.path(self._attempt_id), self._process_limit) > 0
        if not self._pen:
            return False
        try:
            if os.pread(self._refusals, 64, 0) == self._refused_before:
                return False
        except OSError:  # the task closed it
            pass
        return pens.count_refusals(self._pen, self._process_limit) > 0

    def take_error(self) -> str:
        """Tell once why the kernel does not keep a limit."""
        error, self._error = self._error, ""
        if self._is_error_told:
            return ""
        self._is_error_told = bool(error)
        return error


def _rename(outcome: Outcome, reason: FailureReason, limit: str, hint: str) -> Outcome:
    """Name the true reason of a failure: a limit that the attempt met."""
    if outcome.state != "failed":
        return outcome
    message = f"{limit} Then it failed: {outcome.message}"
    return msgspec.structs.replace(outcome, reason=reason, message=message, hint=hint)
