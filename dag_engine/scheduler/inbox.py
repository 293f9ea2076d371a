"""What reaches the scheduler's loop: messages from its HTTP threads, answered after the commit."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field
from typing import Any

from executors.base import Registration, ReportBatch


class Reply:
    """A place for an answer that an HTTP thread waits for."""

    def __init__(self) -> None:
        self._is_set = threading.Event()
        self._value: Any = None

    def set(self, value: Any) -> None:
        """Answer; an exception is raised where it is waited for. The first answer counts."""
        if not self._is_set.is_set():
            self._value = value
            self._is_set.set()

    def wait(self, timeout_s: float) -> Any:
        """Wait for the answer. Raises `TimeoutError`, or what was set as an exception."""
        if not self._is_set.wait(timeout_s):
            raise TimeoutError
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
class HintCame:
    """The api wrote something: these runs are new, or commands are waiting."""

    run_ids: list[str] = field(default_factory=list)
    has_commands: bool = False


@dataclass(slots=True)
class StopAsked:
    """The process is to end in an orderly way."""


Item = ReportsCame | EngineRegisters | EngineLeaves | HintCame | StopAsked


class Inbox:
    """Gathers items while a commit is under way: load makes batches larger, not slower."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()

    def put(self, item: Item) -> None:
        """Add an item; any thread may."""
        self._items.put(item)

    def drain(self, timeout_s: float) -> list[Item]:
        """Wait up to `timeout_s` for something, then take all there is."""
        items: list[Item] = []
        try:
            items.append(self._items.get(timeout=max(0.0, timeout_s)))
            while True:
                items.append(self._items.get_nowait())
        except queue.Empty:
            return items
