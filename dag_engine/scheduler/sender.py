"""One ordered sender thread per operator engine: tasks and cancels in batches that form by
themselves.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from executors.base import DispatchItem
from executors.transport.errors import ConnectionFailedError
from executors.transport.http_client import HttpClient

log = logging.getLogger(__name__)

LARGEST_BATCH = 500
LARGEST_BATCH_BYTES = 16 * 1024 * 1024
LARGEST_TASK_BYTES = 48 * 1024 * 1024
"""Operator engines let in 64 MiB at once."""
_PATH = "/tasks"
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_NOT_WANTED = 409
_VISIBLE = re.compile("[!-~]+")
_NEVER_TAKEN = frozenset({400, 413, 422, 431})
"""An engine that says one of these to a message will say it every time."""


class _Letter(msgspec.Struct, omit_defaults=True):
    """A `Dispatch` whose tasks are encoded already, so that their lengths are known."""

    epoch: int
    incarnation: str
    tasks: list[msgspec.Raw] = []
    cancels: list[str] = []
    reports_url: str = ""


@dataclass(slots=True)
class _Message:
    """What is sent at once; `attempt_ids` names its tasks. `is_begun`: its answer is to be read."""

    attempt_ids: list[str] = field(default_factory=list)
    tasks: list[msgspec.Raw] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    reports_url: str = ""
    size_bytes: int = 0
    body: bytes = b""
    is_begun: bool = False


class Sender(Protocol):
    """What takes tasks and cancels to one incarnation of one operator engine."""

    @property
    def is_closed(self) -> bool:
        """Whether it sends nothing any more."""

    def send(self, tasks: list[DispatchItem], cancels: list[str]) -> None:
        """Queue messages; a cancel of a task that has not left yet still follows it."""

    def greet(self, reports_url: str) -> None:
        """Say who leads now, with the next message or in one of its own."""

    def close(self) -> None:
        """Stop sending; what is queued is dropped."""


class EngineSender:
    """Sends to one incarnation of one operator engine, in order, until it is closed.

    While a message is under way the next ones gather. An engine that cannot be reached is tried
    again; what it never got is settled when it registers again or its lease runs out. An engine
    that says that it is not meant knows better: it has a new incarnation, or this scheduler is not
    the leader any more. Of a message that it will never take, each task is sent by itself, and
    `on_refused` is called with the attempt that it does not take even so, and why.
    """

    def __init__(
        self,
        engine_id: str,
        url: str,
        incarnation: str,
        epoch: int,
        on_refused: Callable[[str, str], None],
    ) -> None:
        self._engine_id = engine_id
        self._incarnation = incarnation
        self._epoch = epoch
        self._on_refused = on_refused
        self._client = HttpClient(url, timeout_s=10.0)
        self._changed = threading.Condition()
        self._tasks: list[DispatchItem] = []
        self._cancels: list[str] = []
        self._greeting = ""
        self._is_resting = False
        self._ahead: _Message | None = None
        self.is_closed = False
        self._thread = threading.Thread(target=self._run, name=f"send-{engine_id}", daemon=True)
        self._thread.start()

    def send(self, tasks: list[DispatchItem], cancels: list[str]) -> None:
        """Queue messages; a cancel of a task that has not left yet still follows it.

        Where nothing is under way they leave at once, and only their answer is waited for by the
        thread: to wake it first would take as long as the whole way to the operator engine.
        """
        with self._changed:
            self._tasks += tasks
            self._cancels += cancels
            is_idle = self._is_resting and self._ahead is None and not self.is_closed
            if is_idle and (self._tasks or self._cancels):
                message = self._ahead = self._cut()
                if message.size_bytes <= LARGEST_TASK_BYTES:
                    message.is_begun = self._client.begin("POST", _PATH, message.body)
            self._changed.notify()

    def greet(self, reports_url: str) -> None:
        """Say who leads now, with the next message or in one of its own."""
        with self._changed:
            self._greeting = reports_url
            self._changed.notify()

    def close(self) -> None:
        """Stop sending; what is queued is dropped."""
        with self._changed:
            self.is_closed = True
            self._changed.notify()

    def _run(self) -> None:
        while (message := self._next()) is not None:
            refusal = self._deliver(message)
            if refusal and len(message.tasks) + bool(message.cancels) > 1:
                for part in _take_apart(message):
                    self._encode(part)
                    self._tell_refused(part, self._deliver(part))
            else:
                self._tell_refused(message, refusal)
        self._client.close()

    def _next(self) -> _Message | None:
        with self._changed:
            self._is_resting = True
            self._changed.wait_for(self._has_something)
            self._is_resting = False
            if self.is_closed:
                return None
            message, self._ahead = self._ahead or self._cut(), None
            return message

    def _has_something(self) -> bool:
        is_queued = self._tasks or self._cancels or self._greeting
        return bool(self.is_closed or self._ahead or is_queued)

    def _cut(self) -> _Message:
        """Take what fits into one message from what is queued."""
        message = _Message(reports_url=self._greeting)
        self._greeting = ""
        for item in self._tasks[:LARGEST_BATCH]:
            task = msgspec.json.encode(item)
            if message.tasks and message.size_bytes + len(task) > LARGEST_BATCH_BYTES:
                break
            message.size_bytes += len(task)
            message.tasks.append(msgspec.Raw(task))
            message.attempt_ids.append(item.task.attempt_id)
        del self._tasks[: len(message.tasks)]
        if not self._tasks:
            message.cancels, self._cancels = self._cancels, []
        self._encode(message)
        return message

    def _encode(self, message: _Message) -> None:
        letter = _Letter(
            self._epoch, self._incarnation, message.tasks, message.cancels, message.reports_url
        )
        message.body = msgspec.json.encode(letter)

    def _deliver(self, message: _Message) -> str:
        """Send until the message is taken or not wanted; return why it will never be taken."""
        if message.size_bytes > LARGEST_TASK_BYTES:
            return f"it is longer than {LARGEST_TASK_BYTES >> 20} MiB"
        pause_s = _FIRST_PAUSE_S
        while not self.is_closed:
            status, answer = self._post(message)
            if status in _NEVER_TAKEN:
                return f"{status} {answer}"
            if 0 < status < 300 or status == _NOT_WANTED:
                return ""
            with self._changed:
                self._changed.wait_for(lambda: self.is_closed, pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
        return ""

    def _post(self, message: _Message) -> tuple[int, str]:
        """Return status and text of the answer; 0 where none came."""
        is_begun, message.is_begun = message.is_begun, False
        try:
            if is_begun:
                reply = self._client.finish()
            else:
                reply = self._client.request("POST", _PATH, message.body)
        except ConnectionFailedError as error:
            log.warning("dispatch_failed engine_id=%s detail=%s", self._engine_id, error)
            return 0, ""
        if reply.status < 300:
            return reply.status, ""
        text = reply.body[:500].decode("utf-8", "replace")
        log.warning(
            "dispatch_refused engine_id=%s status=%d answer=%s", self._engine_id, reply.status, text
        )
        return reply.status, text

    def _tell_refused(self, message: _Message, refusal: str) -> None:
        if refusal:
            for attempt_id in message.attempt_ids:
                self._on_refused(attempt_id, refusal)


def find_url_fault(url: str) -> str:
    """Tell why nobody can be called at a URL; empty where nothing speaks against it."""
    if not _VISIBLE.fullmatch(url):
        return "it holds a space, or a character that is not ASCII"
    try:
        HttpClient(url)
        (urlsplit(url).hostname or "").encode("idna")  # as is done to look the host up
    except ConnectionFailedError as error:
        return error.detail
    except ValueError as error:
        return str(error)
    return ""


def _take_apart(message: _Message) -> list[_Message]:
    """Make a message of each task, and one of the cancels; each says who leads, as all did."""
    url = message.reports_url
    parts = [
        _Message([attempt_id], [task], reports_url=url, size_bytes=len(bytes(task)))
        for attempt_id, task in zip(message.attempt_ids, message.tasks, strict=True)
    ]
    if message.cancels:
        parts.append(_Message(cancels=message.cancels, reports_url=url))
    return parts
