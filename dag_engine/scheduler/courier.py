"""Gives tasks their connections and secrets on the way out, sealed for the engine that gets them.

It works after the commit and beside the loop: whoever needs nothing does not wait for those who do,
and a value is looked up as late as can be, so that the newest one is sent.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection

import msgspec

from dag_engine.scheduler.sender import Sender
from dag_engine.storage.errors import (
    DatabaseUnavailableError,
    SecretKeyError,
    SecretUnreadableError,
)
from dag_engine.storage.vault import Opened
from executors.base import DispatchItem
from executors.errors import SealError
from executors.sealing import seal_task

log = logging.getLogger(__name__)

OpenSecrets = Callable[[str, Collection[str], Collection[str]], Opened]

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


def open_nothing(namespace: str, connections: Collection[str], secrets: Collection[str]) -> Opened:
    """Stand in where there is no vault: nothing is known there."""
    kind, names = ("connection", connections) if connections else ("secret", secrets)
    raise SecretUnreadableError(kind, sorted(names)[0], namespace, "there is no vault here")


class Courier:
    """Fills, seals and passes on, in order, in a thread that starts with the first task.

    Parameters
    ----------
    open_secrets : callable
        Gives the values of connections and secrets of a namespace.
    on_refused : callable
        Called with an attempt that cannot have what it needs, and why.
    """

    def __init__(self, open_secrets: OpenSecrets, on_refused: Callable[[str, str], None]) -> None:
        self._open_secrets = open_secrets
        self._on_refused = on_refused
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Sender, str, DispatchItem]] = deque()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def send(self, sender: Sender, sealing_key: str, items: list[DispatchItem]) -> None:
        """Pass tasks on to an engine once they have what they need."""
        with self._changed:
            self._waiting.extend((sender, sealing_key, item) for item in items)
            self._changed.notify()
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop; what waits is dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._waiting)
                if self._is_closed:
                    return
                sender, sealing_key, item = self._waiting.popleft()
            self._carry(sender, sealing_key, item)

    def _carry(self, sender: Sender, sealing_key: str, item: DispatchItem) -> None:
        pause_s = _FIRST_PAUSE_S
        # An engine whose sender is closed was given up, with all that was handed to it.
        while not (self._is_closed or sender.is_closed):
            try:
                sealed = self._fill(sealing_key, item)
            except DatabaseUnavailableError as error:
                log.warning("secrets_wait detail=%s", error)
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed, pause_s)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
                continue
            except (SecretUnreadableError, SecretKeyError, SealError) as error:
                log.warning("secrets_missing attempt_id=%s detail=%s", item.task.attempt_id, error)
                self._on_refused(item.task.attempt_id, str(error))
            except Exception:
                # The thread serves all other tasks too; this one must not wait for ever.
                log.exception("secrets_failed attempt_id=%s", item.task.attempt_id)
                text = "Its secrets could not be looked up; the log of the scheduler tells why."
                self._on_refused(item.task.attempt_id, text)
            else:
                sender.send([sealed], [])
            return

    def _fill(self, sealing_key: str, item: DispatchItem) -> DispatchItem:
        task = item.task
        opened = self._open_secrets(task.namespace, task.connections, task.secrets)
        filled = msgspec.structs.replace(
            task, connections=opened.connections, secrets=opened.secrets
        )
        return msgspec.structs.replace(item, task=seal_task(filled, sealing_key))
