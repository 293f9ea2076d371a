"""The pool supervisor: `python -m executors.local.supervisor SETTINGS_FILE`.

One process, one thread, one event loop. It takes attempts from clients, hands them to the workers
that it forks, waits for them, and tells how each attempt ended. It imports nothing heavy and runs
no task itself.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from executors.base import Outcome
from executors.local import cgroups, linux, pens
from executors.local.book import Attempt, AttemptBook, Cause, cancelled, handed_back
from executors.local.channel import Outbox
from executors.local.deaths import describe_death
from executors.local.desk import Desk
from executors.local.loop import Loop
from executors.local.messages import Answer, Command, TaskHead, WorkerWord
from executors.local.options import PoolPaths, PoolSettings
from executors.local.pool import PoolEvents, WorkerPool, WorkerRecord
from executors.local.reaper import Reaper
from executors.local.startup import clear_remains, prepare_process, take_lock
from executors.local.watch import Watch

log = logging.getLogger(__name__)

_BROKEN_GRACE_S = 0.2
_JOURNAL_RETRY_S = 1.0
_END_S = 3.0
"""How long a stop waits for the deaths of the tasks that it kills."""
_decode_head = msgspec.json.Decoder(TaskHead).decode


class Supervisor:
    """Ties book, pool, reaper, watch and desk together."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._paths = PoolPaths(settings.executor.home, settings.name)
        self._loop = Loop()
        self._outbox = Outbox()
        self._book = AttemptBook(self._paths.journal)
        self._is_journal_retried = False
        self._is_draining = False
        self._is_ending = False
        self._asked: list[Callable[[], None]] = []
        self._commands = {
            "submit": self._submit,
            "cancel": self._cancel,
            "release": self._release,
            "stage": self._tell_stage,
            "status": self._tell_status,
        }
        events = PoolEvents(
            n_waiting=lambda: len(self._book.queue),
            on_ready=self._dispatch,
            on_word=self._on_word,
            on_death=self._on_death,
            on_broken=self._on_broken,
        )
        self._pool = WorkerPool(self._loop, self._outbox, settings, events)
        self._reaper = Reaper(self._loop, self._pool, settings)
        self._watch = Watch(self._loop, self._book, settings, self._on_late, self._on_excess)
        self._desk: Desk | None = None

    def run(self) -> None:
        """Serve until a signal says stop, or the process that started us is gone."""
        linux.adopt_orphans()
        self._catch_signals()
        for attempt_id in self._book.load():
            log.warning("attempt_lost attempt_id=%s", attempt_id)
            self._reaper.remove_folder(os.path.join(self._paths.work, attempt_id))
        self._desk = Desk(
            self._loop, self._outbox, self._paths.socket, self._on_command, self._book.stages
        )
        self._watch.clear_logs()
        self._pool.start()
        log.info("pool_started slots=%d pid=%d", self._settings.n_slots, os.getpid())
        self._loop.run(self._flush)
        self._stop()

    def _catch_signals(self) -> None:
        """Have a handler only note what its signal asks for: it may come between any two steps of
        what is being done just now.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._wakeup = (ours, theirs)  # kept open
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self._asked.append(self._end))
        signal.signal(signal.SIGUSR1, lambda number, frame: self._asked.append(self._drain))
        self._loop.watch(ours.fileno(), lambda _: self._on_signal(), 1)
        if os.getppid() > 0:  # 0: it lives outside of our container
            self._loop.watch(os.pidfd_open(os.getppid()), lambda _: self._loop.stop(), 1)

    def _on_signal(self) -> None:
        self._wakeup[0].recv(4096)
        while self._asked:
            self._asked.pop(0)()
        self._reaper.reap()

    def _flush(self) -> None:
        """End of a round: first write down, then hand out and tell."""
        while True:
            if not self._book.journal.flush():
                self._retry_journal()
            news, self._book.news = self._book.news, []
            if news and self._desk is not None:
                self._desk.tell(news)
            self._outbox.flush()
            if not self._book.news:
                break
        if self._is_ending and not self._book.n_open and not self._reaper.is_removing:
            self._loop.stop()

    def _retry_journal(self) -> None:
        if not self._is_journal_retried:
            self._is_journal_retried = True
            self._loop.call_after(_JOURNAL_RETRY_S, self._end_journal_pause)

    def _end_journal_pause(self) -> None:
        self._is_journal_retried = False

    def _drain(self) -> None:
        """Hand back what waits, and whatever comes from now on; what runs may end."""
        self._is_draining = True
        while self._book.queue:
            self._hand_back(self._book.queue.popleft())

    def _hand_back(self, attempt: Attempt) -> None:
        self._book.end(
            attempt, handed_back(attempt, "Its operator engine is being stopped; it did not start.")
        )

    def _end(self) -> None:
        """Kill what runs, tell of it, and stop.

        Only after a drain are the killed tasks without blame: a task that signals its own
        supervisor must not be tried for ever.
        """
        self._is_ending = True
        self._pool.close()
        if not self._is_draining:
            self._loop.stop()
            return
        for attempt in list(self._book.attempts.values()):
            if attempt.worker is not None and not attempt.cause:
                attempt.cause = "stop"
                self._reaper.kill_now(attempt.worker)
        self._loop.call_after(_END_S, self._loop.stop)

    def _stop(self) -> None:
        log.info("pool_stopping n_busy=%d", self._pool.n_busy)
        if self._desk is not None:
            self._desk.close()
        self._pool.close()
        self._reaper.kill_all()
        for attempt in self._book.attempts.values():
            if attempt.stage == "started" and attempt.worker is not None:
                self._watch.name_log(attempt, attempt.worker.pid)
        self._watch.clear_logs()
        for groups in (self._settings.cages, self._settings.pens):
            if groups is not None:
                groups.close()
        self._book.journal.flush()
        self._book.journal.close()

    # --- what clients ask -------------------------------------------------------------------------

    def _on_command(self, command: Command) -> Answer | None:
        return self._commands[command.op](command)

    def _submit(self, command: Command) -> Answer:
        refused: dict[int, str] = {}
        taken: list[Attempt] = []
        for place, raw in enumerate(command.tasks):
            task = bytes(raw)
            try:
                head = _decode_head(task)
            except msgspec.DecodeError as error:
                refused[place] = f"Not a task: {error}"
                continue
            if "/" in head.attempt_id or head.attempt_id.count(".") < 2:
                refused[place] = f"{head.attempt_id!r} is not <run id>.<task index>.<attempt>."
                continue
            attempt = self._book.accept(head, task)
            if attempt is not None:
                taken.append(attempt)
        self._begin(taken)
        return Answer(refused=refused)

    def _begin(self, taken: list[Attempt]) -> None:
        """Start attempts that were just taken, as far as there are free workers."""
        if self._is_draining:
            self._drain()
            return
        self._dispatch()
        waiting = [attempt for attempt in taken if attempt.stage == "accepted"]
        for attempt in waiting:
            self._book.note_accepted(attempt)
        if waiting:
            self._pool.fill()

    def _cancel(self, command: Command) -> None:
        for attempt_id in command.ids:
            attempt = self._book.attempts.get(attempt_id)
            if attempt is None:
                self._book.leave_tombstone(attempt_id)
            elif attempt.stage == "accepted":
                self._book.queue.remove(attempt)
                self._book.end(attempt, cancelled(attempt, "Cancelled before its start."))
            elif attempt.worker is not None and not attempt.cause:
                attempt.cause = "cancel"
                self._reaper.kill(attempt.worker)

    def _release(self, command: Command) -> None:
        self._book.release(command.ids)

    def _tell_stage(self, command: Command) -> Answer:
        attempt = self._book.attempts.get(command.ids[0]) if command.ids else None
        return Answer(stage=attempt.stage if attempt is not None else "")

    def _tell_status(self, command: Command) -> Answer:
        workers = [
            {
                "pid": worker.pid,
                "stage": worker.stage,
                "is_preloaded": worker.is_preloaded,
                "n_tasks": worker.n_tasks,
                "attempt_id": worker.attempt.id if worker.attempt else "",
            }
            for worker in self._pool.workers
        ]
        template = self._pool.template
        status: dict[str, Any] = {
            "pid": os.getpid(),
            "slots": self._settings.n_slots,
            "workers": workers,
            "n_queued": len(self._book.queue),
            "n_held": len(self._book.attempts),
            "template": {
                "pid": template.pid,
                "is_ready": template.is_ready,
                "failed": template.failed,
            },
        }
        return Answer(status=status)

    # --- what workers do --------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Hand waiting attempts, oldest first, to free workers."""
        while self._book.queue:
            worker = self._pool.take_idle()
            if worker is None:
                return
            attempt = self._book.queue.popleft()
            self._pool.give(worker, attempt, self._book.start(attempt, worker))
            self._watch.begin(attempt)

    def _on_word(self, worker: WorkerRecord, word: WorkerWord) -> None:
        attempt = worker.attempt
        if attempt is None:
            return
        if word.kind == "progress":
            self._watch.note_progress(attempt, bytes(word.outcome))
        elif attempt.cause not in ("", "stop"):  # being killed: what it says now does not count
            self._reaper.kill_now(worker)
        else:
            self._book.end_as_told(attempt, self._outcome_of(attempt, word))
            worker.attempt = None
            if word.cgroup_error:
                log.warning("cgroup_refused pid=%d error=%s", worker.pid, word.cgroup_error)
            if word.log_error:
                log.warning("log_lost pid=%d error=%s", worker.pid, word.log_error)
            self._reaper.remove_cage(attempt)
            self._let_go(worker, word.retire)

    def _outcome_of(self, attempt: Attempt, word: WorkerWord) -> bytes:
        """Take the outcome as it came, unless the log had to be cut."""
        outcome = bytes(word.outcome)
        is_too_long = word.log_bytes > self._settings.options.log_limit_bytes
        if not (is_too_long or attempt.dropped_log_bytes):
            return outcome
        size_bytes = self._watch.finish_log(attempt)
        decoded = msgspec.json.decode(outcome, type=Outcome)
        return msgspec.json.encode(msgspec.structs.replace(decoded, log_bytes=size_bytes))

    def _let_go(self, worker: WorkerRecord, retire: str) -> None:
        if worker.stage == "leaving":  # these were its last words
            return
        if not retire:
            self._pool.give_back(worker)
            return
        log.info("worker_retired pid=%d why=%s n_tasks=%d", worker.pid, retire, worker.n_tasks)
        if retire == "children":
            self._reaper.kill_now(worker)
        else:
            self._pool.retire(worker)
        self._pool.fill()
        self._dispatch()

    def _on_death(self, worker: WorkerRecord, result: os.waitid_result) -> None:
        attempt = worker.attempt
        if attempt is None:
            self._watch.forget_worker(worker.pid)
            self._reaper.when_swept(lambda: self._reaper.remove_pen(worker.pid))
        else:
            self._watch.name_log(attempt, worker.pid)
            killing = self._watch.killing(attempt)
            # With its pen shut for that, starts are refused too: it is not the attempt's fault.
            was_killed_here = bool(attempt.cause or attempt.detail)
            if killing == "limit" and not attempt.cause:
                attempt.cause = "memory"
                attempt.detail = cgroups.limit_sentence(attempt.limit_mb or 0)
            elif not was_killed_here and self._watch.has_refused(attempt, worker.pid):
                attempt.cause = "processes"
                attempt.detail = pens.limit_sentence(self._settings.options.process_limit)
            is_out_of_memory = bool(killing) or self._watch.has_kernel_killed()
            death = describe_death(attempt, result, is_out_of_memory=is_out_of_memory)
            self._reaper.when_swept(lambda: self._end_dead(attempt, worker, death))

    def _end_dead(self, attempt: Attempt, worker: WorkerRecord, death: Outcome) -> None:
        self._reaper.remove_cage(attempt)
        self._reaper.remove_pen(worker.pid)
        log_bytes = self._watch.finish_log(attempt)
        death = msgspec.structs.replace(death, worker=worker.name, log_bytes=log_bytes)
        self._book.end(attempt, death)
        self._reaper.remove_folder(os.path.join(self._paths.work, attempt.id))

    def _on_broken(self, worker: WorkerRecord) -> None:
        """See to a busy worker whose socket is closed: it is dying, or its task closed it."""
        attempt = worker.attempt

        def kill_if_alive() -> None:
            if worker in self._pool.workers and attempt is not None:
                attempt.detail = "The task closed the worker's connection to its supervisor."
                self._reaper.kill_now(worker)

        self._loop.call_after(_BROKEN_GRACE_S, kill_if_alive)

    # --- what the watch finds ---------------------------------------------------------------------

    def _on_late(self, attempt: Attempt) -> None:
        if attempt.worker is not None and not attempt.cause:
            attempt.cause = "timeout"
            self._reaper.kill(attempt.worker)

    def _on_excess(self, attempt: Attempt, cause: Cause, detail: str) -> None:
        if attempt.worker is not None and not attempt.cause:
            log.info("attempt_over_limit attempt_id=%s cause=%s", attempt.id, cause)
            attempt.cause = cause
            attempt.detail = detail
            self._reaper.kill_now(attempt.worker)


def main(arguments: list[str]) -> int:
    """Run the supervisor of the settings file that is named; 0 when it was told to stop."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    if len(arguments) != 1:
        log.error("usage: python -m executors.local.supervisor SETTINGS_FILE")
        return 2
    with open(arguments[0], "rb") as file:
        settings = msgspec.json.decode(file.read(), type=PoolSettings)
    paths = PoolPaths(settings.executor.home, settings.name)
    prepare_process(paths, settings)
    lock = take_lock(paths.lock)
    if lock is None:
        log.error("pool_locked path=%s: another supervisor of this pool is running", paths.lock)
        return 3
    clear_remains(paths, arguments[0])
    is_wanted = settings.options.cgroups == "auto"
    limit = settings.options.process_limit
    penned = pens.open_pens(paths.pool, paths.socket, limit, is_wanted=is_wanted)
    cages = cgroups.open_cages(paths.pool, paths.socket, is_wanted=is_wanted)
    Supervisor(msgspec.structs.replace(settings, cages=cages, pens=penned)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
