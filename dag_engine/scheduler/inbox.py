"""What reaches the scheduler's loop: messages from its HTTP threads, answered after the commit."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from dag_engine.scheduler.library import FormerFound
from executors.base import Registration, ReportBatch


class Reply:
    """A place for an answer that an HTTP thread waits for; the loop's thread gives it.

    A bare lock, held until there is one: every report has a place of its own, and an event costs
    several times as much.
    """

    def __init__(self) -> None:
        self._pending = threading.Lock()
        self._pending.acquire()
        self._is_set = False
        self._value: Any = None

    def set(self, value: Any) -> None:
        """Answer; an exception is raised where it is waited for. The first answer counts."""
        if not self._is_set:
            self._value, self._is_set = value, True
            self._pending.release()

    def wait(self, timeout_s: float) -> Any:
        """Wait for the answer. Raises `TimeoutError`, or what was set as an exception."""
        if not self._pending.acquire(timeout=timeout_s):
            raise TimeoutError
        self._pending.release()  # it may be asked for again
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


@dataclass(slots=True)
class ReportsCame:
    """A monitor process reports outcomes; answered with a `ReportReply`."""

    batch: ReportBatch
    reply: Reply = field(default_factory=Reply)


@dataclass(slots=True)
class EngineRegisters:
    """An operator engine registers; answered with a `RegistrationReply`."""

    registration: Registration
    reply: Reply = field(default_factory=Reply)


@dataclass(slots=True)
class EngineLeaves:
    """Somebody deregisters an operator engine for good."""

    engine_id: str
    reply: Reply = field(default_factory=Reply)


@dataclass(slots=True)
class EngineStopped:
    """An operator engine says that it has stopped in good order; what it held is for others."""

    engine_id: str
    incarnation: str


@dataclass(slots=True)
class HintCame:
    """The api wrote something: these runs are new, or commands are waiting."""

    run_ids: list[str] = field(default_factory=list)
    has_commands: bool = False


@dataclass(frozen=True, slots=True)
class DispatchRefused:
    """An operator engine will never take this attempt, and why."""

    attempt_id: str
    detail: str


@dataclass(slots=True)
class StopAsked:
    """The process is to end in an orderly way."""


Item = (
    ReportsCame
    | EngineRegisters
    | EngineLeaves
    | EngineStopped
    | HintCame
    | DispatchRefused
    | FormerFound
    | StopAsked
)


class Inbox:
    """Gathers items while a commit is under way: load makes batches larger, not slower."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add an item; any thread may."""
        with self._changed:
            self._items.append(item)
            self._changed.notify()

    def withdraw(self, item: Item) -> None:
        """Take an item back that nobody waits for any more, unless the loop has it already.

        It will be said again: were it kept, repetitions would gather while the database is away.
        """
        with self._changed:
            self._items = deque(other for other in self._items if other is not item)

    def drain(self, timeout_s: float) -> list[Item]:
        """Wait up to `timeout_s` for something, then take all there is."""
        with self._changed:
            self._changed.wait_for(lambda: self._items, max(0.0, timeout_s))
            items, self._items = self._items, deque()
        return list(items)
