"""A small executor whose back end is a folder: no process of its own, slow, and easy to see into.

Tasks end at once, or when the test says so: a task with ``{"hold": true}`` waits for
`FileBackEnd.finish`. Every start is written to a ledger, so that a second one shows.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path
from typing import Any

import msgspec

from executors.base import BaseExecutor, ExecutorSettings, LogChunk, Outcome, Task
from executors.errors import ExecutorUnavailableError, UnknownAttemptError

_SCAN_S = 0.005


class FileExecutor(BaseExecutor):
    """Options: `folder` (where everything lies)."""

    def __init__(self, name: str, options: dict[str, Any], settings: ExecutorSettings) -> None:
        self._name = name
        self._folder = Path(options["folder"])
        self._settings = settings
        self._told: set[str] = set()

    def submit(self, task: Task) -> str:
        self._check_up()
        if task.params.get("refuse"):
            raise ValueError("this task is not for me")
        mark = self._path(task.attempt_id, "task")
        try:
            handle = os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return task.attempt_id
        os.close(handle)
        if self._path(task.attempt_id, "cancel").exists():
            self._end(
                task.attempt_id,
                Outcome(attempt_id=task.attempt_id, kind="ended", state="cancelled"),
            )
            return task.attempt_id
        with (self._folder / "ledger").open("a", encoding="utf-8") as ledger:
            ledger.write(f"{task.attempt_id}\n")
        if not task.params.get("hold"):
            self._end(task.attempt_id, make_success(task.attempt_id))
        return task.attempt_id

    def poll(self, timeout_s: float) -> list[Outcome]:
        self._check_up()
        deadline = time.monotonic() + timeout_s
        while True:
            outcomes = self._look()
            if outcomes or time.monotonic() >= deadline:
                return outcomes
            time.sleep(_SCAN_S)

    def cancel(self, handle: str) -> None:
        self._check_up()
        self._path(handle, "cancel").touch()
        if self._path(handle, "task").exists() and not self._path(handle, "end").exists():
            self._end(handle, Outcome(attempt_id=handle, kind="ended", state="cancelled"))

    def read_log(self, handle: str, offset: int, limit: int) -> LogChunk:
        if not self._path(handle, "task").exists():
            raise UnknownAttemptError(handle)
        text = f"log of {handle}"[offset : offset + limit]
        return LogChunk(text=text, offset=offset, next_offset=offset + len(text), is_complete=True)

    def close(self) -> None:
        pass

    def release(self, handles: list[str]) -> None:
        for handle in handles:
            self._path(handle, "released").touch()

    def _path(self, handle: str, kind: str) -> Path:
        return self._folder / f"{handle}.{kind}"

    def _check_up(self) -> None:
        if (self._folder / "down").exists():
            raise ExecutorUnavailableError(self._name, "the test has taken it down")

    def _end(self, handle: str, outcome: Outcome) -> None:
        write_end(self._folder, handle, outcome)

    def _look(self) -> list[Outcome]:
        outcomes = []
        names = set(os.listdir(self._folder))
        for name in sorted(names):
            attempt_id, _, kind = name.rpartition(".")
            if kind == "task" and name not in self._told and f"{attempt_id}.end" not in names:
                self._told.add(name)
                outcomes.append(
                    Outcome(
                        attempt_id=attempt_id, kind="started", started_at=dt.datetime.now(dt.UTC)
                    )
                )
            elif kind == "end" and name not in self._told:
                self._told.add(name)
                if f"{attempt_id}.released" not in names:
                    data = (self._folder / name).read_bytes()
                    outcomes.append(msgspec.json.decode(data, type=Outcome))
        return outcomes


class FileBackEnd:
    """The test's hand on the folder of a `FileExecutor`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def started(self) -> list[str]:
        """Return the attempts that were started, one entry for each start."""
        ledger = self.folder / "ledger"
        return ledger.read_text(encoding="utf-8").split() if ledger.exists() else []

    def finish(self, attempt_id: str) -> None:
        write_end(self.folder, attempt_id, make_success(attempt_id))

    def is_released(self, attempt_id: str) -> bool:
        return (self.folder / f"{attempt_id}.released").exists()

    def take_down(self) -> None:
        (self.folder / "down").touch()

    def bring_up(self) -> None:
        (self.folder / "down").unlink()


def make_success(attempt_id: str) -> Outcome:
    now = dt.datetime.now(dt.UTC)
    return Outcome(
        attempt_id=attempt_id, kind="ended", state="succeeded", started_at=now, ended_at=now
    )


def write_end(folder: Path, attempt_id: str, outcome: Outcome) -> None:
    fresh = folder / f".{attempt_id}.{os.getpid()}"
    fresh.write_bytes(msgspec.json.encode(outcome))
    fresh.rename(folder / f"{attempt_id}.end")
