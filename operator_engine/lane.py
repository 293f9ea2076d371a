"""The lane of one executor in the execution process: cancels overtake submits."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from executors.base import BaseExecutor, Outcome, Task
from executors.errors import ExecutorError, ExecutorUnavailableError, SealError
from executors.masking import Masker, list_task_secrets
from operator_engine.outcomes import (
    cancelled_before_start,
    refused_by_executor,
    without_secrets,
)

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.05
_MAX_PAUSE_S = 2.0
_MAX_TOLD = 100


class Lane:
    """Hands tasks to one executor, in order, in a thread of its own.

    Parameters
    ----------
    name : str
        The executor's name.
    make_executor : callable
        Makes the client; called in the lane's thread.
    tell : callable
        Called with ids that were submitted and ends that the executor will not tell. What it is
        called with stands in `waiting`, `submitted` and `ended` already.
    unseal : callable, optional
        Returns a task with its secrets in plain, for the executor alone: what is kept here, and
        told to main, stays sealed.
    """

    def __init__(
        self,
        name: str,
        make_executor: Callable[[], BaseExecutor],
        tell: Callable[[list[str], list[Outcome]], None],
        unseal: Callable[[Task], Task] = lambda task: task,
    ) -> None:
        self.name = name
        self._make_executor = make_executor
        self._tell = tell
        self._unseal = unseal
        self._changed = threading.Condition()
        self._cancels: deque[str] = deque()
        self._waiting: dict[str, Task] = {}
        self._submitted: dict[str, Task] = {}
        self._ended: dict[str, Outcome] = {}
        self._executor: BaseExecutor | None = None
        self._retry_at = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name=f"lane-{name}", daemon=True)

    def start(self) -> None:
        """Start handing over."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the present call; what runs goes on."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        self._thread.join(5.0)

    def put(self, tasks: list[Task]) -> None:
        """Queue tasks; one that waits already is not queued twice."""
        with self._changed:
            for task in tasks:
                if task.attempt_id not in self._ended:
                    self._waiting.setdefault(task.attempt_id, task)
            self._changed.notify()

    def cancel(self, attempt_ids: list[str]) -> None:
        """Queue cancels, ahead of all tasks."""
        with self._changed:
            self._cancels.extend(attempt_ids)
            self._changed.notify()

    def forget(self, attempt_ids: list[str]) -> None:
        """Drop what is remembered of attempts that are over."""
        with self._changed:
            for attempt_id in attempt_ids:
                self._submitted.pop(attempt_id, None)
                self._ended.pop(attempt_id, None)

    def held(self) -> tuple[list[Task], list[Task], list[Outcome]]:
        """Return the tasks that wait, those that were submitted, and the ends made up here."""
        with self._changed:
            return (
                list(self._waiting.values()),
                list(self._submitted.values()),
                list(self._ended.values()),
            )

    def _run(self) -> None:
        told: list[str] = []
        while True:
            with self._changed:
                if told and (not self._has_work() or len(told) >= _MAX_TOLD):
                    submitted, told = told, []
                else:
                    submitted = []
            if submitted:
                self._tell(submitted, [])
            cancelled, tasks = self._take()
            if self._is_stopped:
                return
            if cancelled is not None:
                self._cancel_one(cancelled)
            elif tasks:
                told += self._submit(tasks)

    def _take(self) -> tuple[str | None, list[Task]]:
        """Wait for the next cancel, or for as many tasks as the executor takes at once."""
        with self._changed:
            while not self._is_stopped and not self._has_work():
                pause_s = self._retry_at - time.monotonic() if self._is_blocked() else None
                self._changed.wait(pause_s)
            if self._cancels and not self._is_blocked_for_cancels():
                return self._cancels.popleft(), []
            n_tasks = self._executor.most_at_once if self._executor is not None else 1
            return None, list(itertools.islice(self._waiting.values(), n_tasks))

    def _has_work(self) -> bool:
        if self._cancels and not self._is_blocked_for_cancels():
            return True
        return bool(self._waiting) and time.monotonic() >= self._retry_at

    def _is_blocked(self) -> bool:
        return bool(self._waiting or self._cancels) and time.monotonic() < self._retry_at

    def _is_blocked_for_cancels(self) -> bool:
        """Tell whether the back end is away and no cancel can be settled without it."""
        if time.monotonic() >= self._retry_at:
            return False
        return not any(attempt_id in self._waiting for attempt_id in self._cancels)

    def _cancel_one(self, attempt_id: str) -> None:
        with self._changed:
            is_here = self._waiting.pop(attempt_id, None) is not None
        if is_here:
            self._end(cancelled_before_start(attempt_id))
            return
        try:
            executor = self._get_executor()
            executor.cancel(executor.handle_of(attempt_id))
        except ExecutorUnavailableError as error:
            self._back_off(error)
            with self._changed:
                self._cancels.append(attempt_id)
        except Exception:
            # A third party's code: its fault must not end the lane of all other tasks.
            log.exception("cancel_failed executor=%s attempt_id=%s", self.name, attempt_id)

    def _submit(self, tasks: list[Task]) -> list[str]:
        """Submit tasks at the head; return the ids of those that the executor has now."""
        opened = self._open(tasks)
        if not opened:
            return []
        try:
            executor = self._get_executor()
            told = list(executor.submit_some([plain for _, plain in opened]))
        except Exception as error:  # noqa: BLE001 - a third party's code: the first is to blame
            told = [error]
        if not told:
            told = [ExecutorError("submit_some told nothing of the tasks that it was given")]
        submitted: list[str] = []
        for (task, plain), result in zip(opened, told, strict=False):
            if isinstance(result, ExecutorUnavailableError):
                self._back_off(result)
                break
            if isinstance(result, Exception):
                detail = self._describe(result, plain)
                self._refuse(refused_by_executor(task.attempt_id, self.name, detail))
                continue
            self._pause_s = _FIRST_PAUSE_S
            self._check_handle(executor, task.attempt_id, result)
            with self._changed:
                self._waiting.pop(task.attempt_id, None)
                self._submitted[task.attempt_id] = task
            submitted.append(task.attempt_id)
        return submitted

    def _open(self, tasks: list[Task]) -> list[tuple[Task, Task]]:
        """Pair tasks with what the executor gets of them; what cannot be opened is refused."""
        opened: list[tuple[Task, Task]] = []
        for task in tasks:
            try:
                opened.append((task, self._unseal(task)))
            except SealError as error:
                log.warning("secrets_sealed attempt_id=%s detail=%s", task.attempt_id, error)
                self._refuse(without_secrets(task.attempt_id, str(error)))
            except Exception as error:  # noqa: BLE001 - the end of this attempt, not of the lane
                detail = self._describe(error, task)
                self._refuse(refused_by_executor(task.attempt_id, self.name, detail))
        return opened

    def _check_handle(self, executor: BaseExecutor, attempt_id: str, handle: str) -> None:
        if handle != executor.handle_of(attempt_id):
            log.error(
                "handle_mismatch executor=%s attempt_id=%s handle=%s: handle_of() must return what "
                "submit() returns",
                self.name,
                attempt_id,
                handle,
            )

    def _refuse(self, outcome: Outcome) -> None:
        with self._changed:
            self._waiting.pop(outcome.attempt_id, None)
        self._end(outcome)

    def _describe(self, error: Exception, task: Task) -> str:
        """Log what an executor raised, and say it in a line; it may have shown the task."""
        mask = Masker(list_task_secrets(task)).mask
        log.error(
            "submit_failed executor=%s attempt_id=%s\n%s",
            self.name,
            task.attempt_id,
            mask("".join(traceback.format_exception(error)).rstrip()),
        )
        return mask(f"{type(error).__name__}: {error}")

    def _get_executor(self) -> BaseExecutor:
        if self._executor is None:
            self._executor = self._make_executor()
        return self._executor

    def _back_off(self, error: ExecutorUnavailableError) -> None:
        log.warning("executor_unavailable executor=%s detail=%s", self.name, error.detail)
        self._retry_at = time.monotonic() + self._pause_s * random.uniform(0.7, 1.0)
        self._pause_s = min(_MAX_PAUSE_S, self._pause_s * 2)

    def _end(self, outcome: Outcome) -> None:
        with self._changed:
            self._ended[outcome.attempt_id] = outcome
        self._tell([], [outcome])
