"""The pool of workers: forks them, keeps the right number, replaces them."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from executors.local.book import Attempt
from executors.local.channel import Channel, Outbox
from executors.local.loop import Loop
from executors.local.messages import WorkerWord
from executors.local.options import PoolSettings
from executors.local.template_keeper import TemplateKeeper
from executors.local.worker import worker_main

log = logging.getLogger(__name__)

_WORD_LIMIT_BYTES = 16 * 1024 * 1024
_BIRTH_LIMIT_S = 10.0
_N_UPGRADES_AT_ONCE = 2
_YOUNG_S = 1.0
_LEAVE_LIMIT_S = 2.0
_FORK_PAUSE_S = 1.0
_decode_word = msgspec.json.Decoder(WorkerWord).decode
_HOST = socket.gethostname()


@dataclass(slots=True, eq=False)
class WorkerRecord:
    """A worker as the supervisor sees it.

    `starting` → `idle` ⇄ `busy`; `leaving` once its channel is closed or it is being killed.
    """

    channel: Channel | None = None
    pid: int = 0
    pidfd: int = -1
    stage: Literal["starting", "idle", "busy", "leaving"] = "starting"
    is_preloaded: bool = False
    born_at: float = 0.0
    n_tasks: int = 0
    attempt: Attempt | None = None
    has_failed: bool = False

    @property
    def name(self) -> str:
        """Where it runs, for people."""
        return f"{_HOST}:{self.pid}"


@dataclass(frozen=True, slots=True)
class PoolEvents:
    """What the pool asks and tells its owner.

    `n_waiting`: how many attempts wait? `on_ready`: a worker may be free. `on_word`: a worker spoke
    of its attempt. `on_death`: a process that was a worker has been waited for. `on_broken`: a
    worker that has a task cannot be spoken to any more.
    """

    n_waiting: Callable[[], int]
    on_ready: Callable[[], None]
    on_word: Callable[[WorkerRecord, WorkerWord], None]
    on_death: Callable[[WorkerRecord, os.waitid_result], None]
    on_broken: Callable[[WorkerRecord], None]


class WorkerPool:
    """Forks and keeps workers.

    A few light workers exist at once, so that tasks run immediately; when the template has
    imported its modules, workers forked from it take their places.
    """

    def __init__(
        self, loop: Loop, outbox: Outbox, settings: PoolSettings, events: PoolEvents
    ) -> None:
        self._loop = loop
        self._outbox = outbox
        self._settings = settings
        self._events = events
        self._n_slots = settings.n_slots
        self.workers: set[WorkerRecord] = set()
        self.by_pid: dict[int, WorkerRecord] = {}
        self._idle: list[WorkerRecord] = []
        self._n_early_deaths = 0
        self._is_held_back = False
        self._is_closing = False
        self._pid = os.getpid()
        self.template = TemplateKeeper(loop, settings, fork_safely, self.fill)

    # --- size -------------------------------------------------------------------------------------

    @property
    def n_busy(self) -> int:
        """How many workers have a task, or are being killed with one."""
        return sum(worker.attempt is not None for worker in self.workers)

    @property
    def _n_live(self) -> int:
        return sum(worker.stage != "leaving" for worker in self.workers)

    def start(self) -> None:
        """Fork the first workers and the template."""
        self.fill()
        if self._settings.options.preload:
            self.template.start()

    def fill(self) -> None:
        """Fork what is lacking: all slots once the template is ready, before that one per core and
        as many as tasks wait.
        """
        if self._is_closing or self._is_held_back:
            return
        n_wanted = self._n_slots
        if self.template.is_awaited:
            n_wanted = min(
                n_wanted, max(os.cpu_count() or 1, self.n_busy + self._events.n_waiting())
            )
        n_lacking = n_wanted - self._n_live
        if self.template.is_ready:
            n_lacking = max(n_lacking, self._n_to_upgrade())
        for _ in range(n_lacking):
            try:
                self._fork()
            except OSError as error:  # no processes, descriptors or memory left
                log.error("worker_not_forked error=%s", error)  # noqa: TRY400 - the text says it all
                self._hold_back(_FORK_PAUSE_S)
                return

    def _n_to_upgrade(self) -> int:
        n_light = sum(not w.is_preloaded and w.stage == "idle" for w in self.workers)
        n_under_way = sum(w.is_preloaded and w.stage == "starting" for w in self.workers)
        return min(n_light, _N_UPGRADES_AT_ONCE) - n_under_way

    # --- tasks ------------------------------------------------------------------------------------

    def take_idle(self) -> WorkerRecord | None:
        """Take the worker that is to run the next task: preloaded ones first, then the one that
        ran last.
        """
        if not self._idle or self.n_busy >= self._n_slots:
            return None
        for position in range(len(self._idle) - 1, -1, -1):
            if self._idle[position].is_preloaded:
                break
        else:
            position = -1
        worker = self._idle.pop(position)
        worker.stage = "busy"
        return worker

    def give(self, worker: WorkerRecord, attempt: Attempt, task: bytes) -> None:
        """Hand a task to a worker that was taken."""
        worker.attempt = attempt
        worker.n_tasks += 1
        if worker.channel is not None:
            worker.channel.send(task)

    def give_back(self, worker: WorkerRecord) -> None:
        """Take back a worker that has finished its task; it may have another."""
        self._n_early_deaths = 0
        worker.attempt = None
        self._make_idle(worker)

    def _make_idle(self, worker: WorkerRecord) -> None:
        is_new = worker.stage == "starting"
        worker.stage = "idle"
        self._idle.append(worker)
        if self._n_live > self._n_slots:
            self._retire_one()
        if self.template.is_ready and (is_new or not worker.is_preloaded):
            self.fill()  # light ones are replaced by and by
        self._events.on_ready()

    def _retire_one(self) -> None:
        worker = next((w for w in self._idle if not w.is_preloaded), self._idle[0])
        self.retire(worker)

    def retire(self, worker: WorkerRecord) -> None:
        """Let a worker go: it ends when it sees its socket closed."""
        worker.attempt = None
        self.leave(worker)
        if worker.channel is not None:
            worker.channel.close()
        self._loop.call_after(_LEAVE_LIMIT_S, lambda: send_by_pidfd(worker, signal.SIGKILL))

    def leave(self, worker: WorkerRecord) -> None:
        """Give a worker no more tasks; it is about to end."""
        if worker in self._idle:
            self._idle.remove(worker)
        worker.stage = "leaving"

    # --- birth ------------------------------------------------------------------------------------

    def _fork(self) -> None:
        ours, theirs = socket.socketpair()
        worker = WorkerRecord(born_at=time.monotonic())
        if self.template.is_ready and self.template.ask(theirs):
            worker.is_preloaded = True
        else:
            pid = fork_safely()
            if pid == 0:
                worker_main(theirs, self._settings, self._pid)
            self._note_pid(worker, pid)
        theirs.close()
        worker.channel = Channel(
            self._loop,
            self._outbox,
            ours,
            lambda payload: self._on_payload(worker, payload),
            lambda: self._on_closed(worker),
            _WORD_LIMIT_BYTES,
        )
        self.workers.add(worker)
        self._loop.call_after(_BIRTH_LIMIT_S, lambda: self._check_birth(worker))

    def _note_pid(self, worker: WorkerRecord, pid: int) -> None:
        worker.pid = pid
        worker.pidfd = os.pidfd_open(pid)
        self.by_pid[pid] = worker
        self._loop.watch(worker.pidfd, lambda _: self.wait_for(worker), 1)

    def _note_birth(self, worker: WorkerRecord, pid: int) -> None:
        try:
            self._note_pid(worker, pid)
        except OSError as error:
            log.warning("worker_died_at_birth pid=%d error=%s", pid, error)
            self._on_closed(worker)

    def _check_birth(self, worker: WorkerRecord) -> None:
        if worker.stage == "starting" and worker in self.workers:
            log.error("worker_start_too_slow pid=%d limit_s=%g", worker.pid, _BIRTH_LIMIT_S)
            self._give_up(worker)

    def read_births(self) -> None:
        """Learn the pids of workers that the template has just forked: who is still unknown after
        this is no worker.
        """
        for worker in list(self.workers):
            if worker.pid == 0 and worker.channel is not None and not worker.channel.is_closed:
                worker.channel.read()

    # --- words ------------------------------------------------------------------------------------

    def _on_payload(self, worker: WorkerRecord, payload: bytes) -> None:
        try:
            word = _decode_word(payload)
        except msgspec.DecodeError as error:
            log.warning("worker_word_damaged pid=%d error=%s", worker.pid, error)
            self._on_closed(worker)
            return
        if word.kind == "born":
            self._note_birth(worker, word.pid)
        elif word.kind == "ready":
            if worker.stage == "starting":
                self._make_idle(worker)
        elif worker.attempt is not None and worker.attempt.id == word.attempt_id:
            self._events.on_word(worker, word)

    def _on_closed(self, worker: WorkerRecord) -> None:
        if worker.channel is not None:
            worker.channel.close()
        if worker.pid == 0:  # the template died, or could not fork
            self.workers.discard(worker)
            self.fill()
        elif worker.stage == "busy":
            self._events.on_broken(worker)
        elif worker.stage != "leaving":
            self._give_up(worker)

    def _give_up(self, worker: WorkerRecord) -> None:
        worker.has_failed = True
        self.leave(worker)
        if worker.channel is not None:
            worker.channel.close()
        send_by_pidfd(worker, signal.SIGKILL)
        if not worker.pid:
            self.workers.discard(worker)

    # --- death ------------------------------------------------------------------------------------

    def wait_for(self, worker: WorkerRecord) -> None:
        """Wait for a worker that has ended; nobody else does."""
        if worker.pidfd < 0:  # seen by another event of the same round
            return
        result = os.waitid(os.P_PIDFD, worker.pidfd, os.WEXITED | os.WNOHANG)
        if result is None:
            return
        self._loop.forget(worker.pidfd)
        os.close(worker.pidfd)
        worker.pidfd = -1
        was_expected = worker.stage == "leaving" and not worker.has_failed
        self.leave(worker)
        self.workers.discard(worker)
        del self.by_pid[worker.pid]
        if worker.channel is not None:
            worker.channel.drain()  # its last words came before its death
        self._events.on_death(worker, result)
        if not was_expected:
            self._note_death(worker, result)
        self.fill()
        self._events.on_ready()

    def _note_death(self, worker: WorkerRecord, result: os.waitid_result) -> None:
        log.warning(
            "worker_died pid=%d code=%d status=%d n_tasks=%d",
            worker.pid,
            result.si_code,
            result.si_status,
            worker.n_tasks,
        )
        if worker.n_tasks == 0 and time.monotonic() - worker.born_at < _YOUNG_S:
            self._n_early_deaths += 1
            self._hold_back(min(10.0, 0.1 * 2**self._n_early_deaths))

    def _hold_back(self, delay_s: float) -> None:
        if not self._is_held_back:
            self._is_held_back = True
            self._loop.call_after(delay_s, self._fill_again)

    def _fill_again(self) -> None:
        self._is_held_back = False
        self.fill()

    def close(self) -> None:
        """Fork nothing more."""
        self._is_closing = True
        self.template.close()


def fork_safely() -> int:
    """Fork with our signals held back, so that none meant for us reaches the child's copy of our
    handlers.
    """
    held = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, held)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = -1
    try:
        pid = os.fork()
    finally:
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
    return pid


def send_by_pidfd(worker: WorkerRecord, number: signal.Signals) -> None:
    """Signal a worker; never another process that has got its number meanwhile."""
    if worker.pidfd >= 0:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(worker.pidfd, number)
