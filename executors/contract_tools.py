"""What the conformance suite of executors observes with: outcomes, processes, what really ran."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executors.base import BaseExecutor, Outcome, Task
from executors.errors import ExecutorUnavailableError


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 10.0) -> Any:
    """Wait until the condition holds and return what it gave; fail naming `what` it was."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.005)
    return result


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


class Listener:
    """Polls an executor and keeps what it tells."""

    def __init__(self, executor: BaseExecutor) -> None:
        self.executor = executor
        self.heard: list[Outcome] = []

    def poll(self, timeout_s: float = 0.1) -> list[Outcome]:
        """Poll once; a back end that is not up yet has told nothing."""
        try:
            outcomes = self.executor.poll(timeout_s)
        except ExecutorUnavailableError:
            return []
        self.heard += outcomes
        return outcomes

    def of(self, handle: str) -> list[Outcome]:
        """Return what was told of one attempt, in order."""
        return [outcome for outcome in self.heard if outcome.attempt_id == handle]

    def end_of(self, handle: str, timeout_s: float = 20.0) -> Outcome:
        """Wait for the end of an attempt."""
        return self.wait_for(handle, "ended", timeout_s)

    def wait_for(self, handle: str, kind: str, timeout_s: float = 20.0) -> Outcome:
        """Wait until something of this kind has been told of an attempt."""
        deadline = time.monotonic() + timeout_s
        while True:
            for outcome in self.of(handle):
                if outcome.kind == kind:
                    return outcome
            if time.monotonic() > deadline:
                pytest.fail(f"{handle} was not {kind} within {timeout_s:g} s: {self.of(handle)}")
            self.poll()


class Ledger:
    """The file to which fault operators write what really ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[tuple[str, int]]:
        """Return words and process ids, in order."""
        if not self.path.exists():
            return []
        lines = [line.rpartition(" ") for line in self.path.read_text().splitlines()]
        return [(word, int(pid)) for word, _, pid in lines]

    def pid_of(self, word: str) -> int:
        """Wait for an entry and return its process id."""

        def find() -> int:
            return next((pid for noted, pid in self.entries() if noted == word), 0)

        return int(wait_until(find, f"{word!r} in the ledger"))


def submit(executor: BaseExecutor, task: Task, timeout_s: float = 20.0) -> str:
    """Submit, trying again while the back end is away, as an engine does."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return executor.submit(task)
        except ExecutorUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
