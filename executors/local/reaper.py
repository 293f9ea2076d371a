"""Kills workers with all that descends from them, and waits for what has lost its parent.

Workers adopt the orphans below them; when a worker dies, what is left of its tree becomes a child
of the supervisor. So every child of the supervisor that is neither a worker nor the template is a
stray of a dead worker, and may be killed.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable

from executors.local import linux, proctree
from executors.local.book import Attempt
from executors.local.loop import Loop
from executors.local.options import PoolSettings
from executors.local.pool import WorkerPool, WorkerRecord, fork_safely
from executors.masking import PROCESS_NAME

log = logging.getLogger(__name__)

_SWEEP_EVERY_S = 0.02
_SWEEP_LIMIT_S = 1.0
_FINISH_LIMIT_S = 0.5
_CAGE_RETRY_S = 0.02
_N_CAGE_TRIES = 500


class Reaper:
    """Signals, waits and sweeps, for one pool."""

    def __init__(self, loop: Loop, pool: WorkerPool, settings: PoolSettings) -> None:
        self._loop = loop
        self._pool = pool
        self._grace_s = settings.options.kill_grace_s
        self._cages = settings.cages
        self._pens = settings.pens
        self._pid = os.getpid()
        self._removers: set[int] = set()
        self._killed: set[int] = set()
        self._waiting: list[tuple[float, Callable[[], None]]] = []
        self._is_sweep_due = False
        self._finishing: dict[int, float] = {}

    def kill(self, worker: WorkerRecord) -> None:
        """Ask the tree to end; make it end when the grace time is over."""
        self._pool.leave(worker)
        proctree.send_signal([worker.pid, *proctree.descendants_of(worker.pid)], signal.SIGTERM)
        self._loop.call_after(self._grace_s, lambda: self.kill_now(worker))

    def kill_now(self, worker: WorkerRecord) -> None:
        """SIGKILL the whole tree."""
        if worker in self._pool.workers:
            self._pool.leave(worker)
            if self._pens is not None:
                self._pens.kill(worker.pid)
            proctree.kill_trees([worker.pid])
            attempt = worker.attempt
            if self._cages is not None and attempt is not None and attempt.limit_mb is not None:
                self._cages.kill(attempt.id)

    def reap(self) -> None:
        """Wait for every child that has ended."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            self._reap_one(ended.si_pid)

    def _reap_one(self, pid: int) -> None:
        if pid not in self._pool.by_pid and pid != self._pool.template.pid:
            self._pool.read_births()
        worker = self._pool.by_pid.get(pid)
        if worker is not None:
            self._pool.wait_for(worker)
        elif pid == self._pool.template.pid:
            self._pool.template.wait()
        else:
            os.waitpid(pid, 0)
            self._removers.discard(pid)
            if self._waiting:
                self._sweep_soon(0.0)

    def when_swept(self, callback: Callable[[], None]) -> None:
        """Call when nothing is left of the trees of dead workers, at the latest after a second."""
        self._waiting.append((time.monotonic() + _SWEEP_LIMIT_S, callback))
        self._sweep_soon(0.0)

    def _sweep_soon(self, delay_s: float) -> None:
        if not self._is_sweep_due:
            self._is_sweep_due = True
            self._loop.call_after(delay_s, self._sweep)

    def _sweep(self) -> None:
        self._is_sweep_due = False
        self.reap()
        self._pool.read_births()
        now = time.monotonic()
        strays = self._strays()
        if strays:
            killed = [pid for pid in strays if not self._may_finish(pid, now)]
            if killed:
                proctree.kill_trees(killed)
                if not self._killed.issuperset(killed):
                    log.info("strays_killed pids=%s", killed)
            self._killed = set(killed)
            self._sweep_soon(_SWEEP_EVERY_S)
        else:
            self._finishing.clear()
        due = [entry for entry in self._waiting if not strays or entry[0] <= now]
        self._waiting = [entry for entry in self._waiting if entry not in due]
        for _, callback in due:
            callback()

    def _may_finish(self, pid: int, now: float) -> bool:
        """Whether a stray is what filters a dead worker's output: it ends by itself as soon as it
        has written the last words.
        """
        if proctree.name_of(pid) != PROCESS_NAME:
            return False
        return now - self._finishing.setdefault(pid, now) < _FINISH_LIMIT_S

    def _strays(self) -> list[int]:
        known = self._pool.by_pid.keys() | self._removers | {self._pool.template.pid}
        return [pid for pid in proctree.children_of(self._pid) if pid not in known]

    def remove_folder(self, path: str) -> None:
        """Remove the private folder of an attempt whose worker died, in a process of its own:
        it may be large.
        """
        if not os.path.lexists(path):
            return
        try:
            pid = fork_safely()
        except OSError as error:
            log.warning("folder_not_removed path=%s error=%s", path, error)
            return
        if pid == 0:
            try:
                linux.close_all_but(set())
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os._exit(0)
        self._removers.add(pid)

    @property
    def is_removing(self) -> bool:
        """Whether folders are being removed."""
        return bool(self._removers)

    def remove_cage(self, attempt: Attempt) -> None:
        """Remove the cgroup of an attempt that is over, with all processes that are in it still."""
        if self._cages is not None and attempt.limit_mb is not None:
            self._remove_group(functools.partial(self._cages.remove, attempt.id), attempt.id)

    def remove_pen(self, worker_pid: int) -> None:
        """Remove the cgroup of a worker that is dead, unless another has got its number."""
        pens = self._pens
        if pens is not None:
            self._remove_group(
                lambda: worker_pid in self._pool.by_pid or pens.remove(worker_pid),
                f"worker-{worker_pid}",
            )

    def _remove_group(
        self, remove: Callable[[], bool], name: str, n_tries: int = _N_CAGE_TRIES
    ) -> None:
        if remove():
            return
        if n_tries:
            retry = functools.partial(self._remove_group, remove, name, n_tries - 1)
            self._loop.call_after(_CAGE_RETRY_S, retry)
        else:
            log.warning("cgroup_not_removed name=%s", name)

    def kill_all(self) -> None:
        """Kill every child with its tree, and wait for them."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            proctree.kill_trees(proctree.children_of(self._pid))
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.005)
        log.error("children_not_killed pids=%s", proctree.children_of(self._pid))
