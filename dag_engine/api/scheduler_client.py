"""How the api speaks to the scheduler: hints, and calls of operator engines that are passed on."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from dag_engine.api.errors import UnavailableError
from dag_engine.api.guard import SECRET_HEADER
from dag_engine.storage.errors import DatabaseUnavailableError
from executors.transport.errors import ConnectionFailedError
from executors.transport.http_client import HttpClient, HttpReply

log = logging.getLogger(__name__)

_HINT_TIMEOUT_S = 0.5
_LEADER_KEPT_S = 1.0
_IDLE_CONNECTIONS = 16


class SchedulerClient:
    """Speaks to whichever scheduler leads now, over connections that are kept open.

    Parameters
    ----------
    find_leader : callable
        Reads the leader's URL from the database; empty where none leads.
    secret : callable
        Gives the installation's secret, which the scheduler asks for.
    """

    def __init__(self, find_leader: Callable[[], str], secret: Callable[[], str]) -> None:
        self._find_leader = find_leader
        self._secret = secret
        self._lock = threading.Lock()
        self._leader = ""
        self._found_at = -_LEADER_KEPT_S
        self._idle: deque[HttpClient] = deque(maxlen=_IDLE_CONNECTIONS)

    def leader(self) -> str:
        """Return the leader's URL, empty where none leads; known again after a second.

        Raises `UnavailableError` where the database does not tell: who asks has stored its work
        before, and a scheduler that cannot be found is no reason to take that back.
        """
        now = time.monotonic()
        with self._lock:
            if self._leader and now - self._found_at < _LEADER_KEPT_S:
                return self._leader
        try:
            leader = self._find_leader()
        except DatabaseUnavailableError as error:
            text = "Which scheduler leads cannot be looked up just now."
            raise UnavailableError("no_scheduler", text, 1) from error
        with self._lock:
            self._leader, self._found_at = leader, now
        return leader

    def hint(self, run_ids: list[str], *, has_commands: bool = False) -> None:
        """Tell the scheduler that there is work; a lost hint costs time, nothing else."""
        body = msgspec.json.encode({"runs": run_ids, "commands": has_commands})
        try:
            self.send("POST", "/internal/v1/hints", body, timeout_s=_HINT_TIMEOUT_S)
        except UnavailableError as error:
            log.info("hint_lost runs=%s detail=%s", run_ids, error)

    def send(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        timeout_s: float = 30.0,
    ) -> HttpReply:
        """Pass a request on; raises `UnavailableError` where no scheduler answers."""
        leader = self.leader()
        if not leader:
            raise UnavailableError("no_scheduler", "No scheduler leads just now.", 1)
        client = self._take(leader)
        try:
            reply = client.request(
                method,
                path,
                body,
                content_type=content_type,
                timeout_s=timeout_s,
                headers={SECRET_HEADER: self._secret()},
            )
        except ConnectionFailedError as error:
            self.forget_leader()
            raise UnavailableError(
                "no_scheduler", f"The scheduler does not answer: {error.detail}.", 1
            ) from error
        self._idle.append(client)
        return reply

    def forget_leader(self) -> None:
        """Read the leader anew at the next call."""
        with self._lock:
            self._leader = ""

    def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().close()

    def _take(self, leader: str) -> HttpClient:
        while True:
            try:
                client = self._idle.pop()
            except IndexError:
                return HttpClient(leader)
            if client.base_url == leader.rstrip("/"):
                return client
            client.close()
