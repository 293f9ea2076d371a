"""One ordered sender thread per operator engine: tasks and cancels in batches that form by
themselves.
"""

from __future__ import annotations

import logging
import threading

import msgspec

from executors.base import Dispatch, DispatchItem
from executors.transport.errors import ConnectionFailedError
from executors.transport.http_client import HttpClient

log = logging.getLogger(__name__)

LARGEST_BATCH = 500
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class EngineSender:
    """Sends to one incarnation of one operator engine, in order, until it is closed.

    While a message is under way the next ones gather. An engine that cannot be reached is tried
    again; what it never got is settled when it registers again or its lease runs out. An engine
    that refuses a message knows better: it has a new incarnation, or this scheduler is not the
    leader any more.
    """

    def __init__(self, engine_id: str, url: str, incarnation: str, epoch: int) -> None:
        self._engine_id = engine_id
        self._incarnation = incarnation
        self._epoch = epoch
        self._client = HttpClient(url, timeout_s=10.0)
        self._changed = threading.Condition()
        self._tasks: list[DispatchItem] = []
        self._cancels: list[str] = []
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=f"send-{engine_id}", daemon=True)
        self._thread.start()

    def send(self, tasks: list[DispatchItem], cancels: list[str]) -> None:
        """Queue messages; a cancel of a task that has not left yet still follows it."""
        with self._changed:
            self._tasks += tasks
            self._cancels += cancels
            self._changed.notify()

    def close(self) -> None:
        """Stop sending; what is queued is dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while (dispatch := self._next()) is not None:
            body = msgspec.json.encode(dispatch)
            while not self._is_closed:
                if self._post(body):
                    pause_s = _FIRST_PAUSE_S
                    break
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed, pause_s)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
        self._client.close()

    def _next(self) -> Dispatch | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._tasks or self._cancels)
            if self._is_closed:
                return None
            tasks, self._tasks = self._tasks[:LARGEST_BATCH], self._tasks[LARGEST_BATCH:]
            cancels: list[str] = []
            if not self._tasks:
                cancels, self._cancels = self._cancels, []
            return Dispatch(
                epoch=self._epoch, incarnation=self._incarnation, tasks=tasks, cancels=cancels
            )

    def _post(self, body: bytes) -> bool:
        """Return whether the message is done with: taken, or refused for good."""
        try:
            reply = self._client.request("POST", "/tasks", body)
        except ConnectionFailedError as error:
            log.warning("dispatch_failed engine_id=%s detail=%s", self._engine_id, error)
            return False
        if reply.status < 300:
            return True
        log.warning(
            "dispatch_refused engine_id=%s status=%d answer=%s",
            self._engine_id,
            reply.status,
            reply.body[:500].decode("utf-8", "replace"),
        )
        return reply.status < 500
