"""Posts DAG files and waits for their runs, over keep-alive connections and with as little work
as possible: the client shares its processor with what is measured.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_WAIT_S = 60
FINAL_STATES = ("succeeded", "failed", "cancelled")
_OPEN_TIMEOUT_S = 10.0


class BenchmarkError(Exception):
    """What was to be measured did not happen."""


@dataclass(slots=True)
class Connection:
    """One connection with the answer that is coming in on it, and what was asked last."""

    sock: socket.socket
    received: bytearray = field(default_factory=bytearray)
    asked: str = ""

    def send(self, request: bytes) -> None:
        """Send a whole request."""
        self.asked = request.partition(b" HTTP/1.1\r\n")[0].decode()
        self.sock.sendall(request)

    def receive_some(self) -> None:
        """Read what has come; raises `BenchmarkError` where the server closed the connection."""
        data = self.sock.recv(1 << 16)
        if not data:
            came = bytes(self.received[:200])
            raise BenchmarkError(
                f"the server closed the connection on {self.asked!r}; of the answer came {came!r}"
            )
        self.received += data

    def take_reply(self) -> tuple[int, bytes] | None:
        """Take status and body, once the whole answer is there."""
        head_end = self.received.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        head = bytes(self.received[:head_end]).lower()
        if b"\r\ncontent-length:" not in head:
            raise BenchmarkError(f"an answer without Content-Length: {head[:200]!r}")
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        end = head_end + 4 + length
        if len(self.received) < end:
            return None
        body = bytes(self.received[head_end + 4 : end])
        del self.received[:end]
        return int(head.split(b" ", 2)[1]), body


class ApiClient:
    """Talks to one service from one thread, over as many connections as files are posted at
    once.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._host = parts.netloc.encode()
        self._connections: list[Connection] = []

    def run_files(
        self, files: list[bytes], content_type: str, timeout_s: float
    ) -> tuple[float, list[dict[str, Any]]]:
        """Post all files at once; return the seconds until the last run was seen finished, and
        the runs.
        """
        posts = [self._encode("POST", "/api/v1/runs", body, content_type) for body in files]
        self._open(len(posts))
        runs: list[dict[str, Any]] = []
        with selectors.DefaultSelector() as selector:
            for connection in self._connections[: len(posts)]:
                selector.register(connection.sock, selectors.EVENT_READ, connection)
            began = time.perf_counter()
            for connection, post in zip(self._connections, posts, strict=False):
                connection.send(post)
            while len(runs) < len(posts):
                events = selector.select(began + timeout_s - time.perf_counter())
                if not events:
                    raise BenchmarkError(f"not finished within {timeout_s:g} s")
                for key, _ in events:
                    run = self._go_on(key.data)
                    if run is not None:
                        runs.append(run)
            seconds = time.perf_counter() - began
        return seconds, runs

    def get(self, path: str) -> Any:
        """Get a JSON document; an answer other than 200 raises `BenchmarkError`."""
        self._open(1)
        status, body = self._exchange(self._connections[0], self._encode("GET", path))
        if status != 200:
            raise BenchmarkError(f"GET {path} answered {status}: {body[:500]!r}")
        return json.loads(body)

    def time_call(
        self, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
    ) -> tuple[float, bytes]:
        """Ask one thing; return the seconds until the whole answer was there, and the answer.

        An answer other than 200, 201 or 202 raises `BenchmarkError`.
        """
        self._open(1)
        request = self._encode(method, path, body, content_type)
        began = time.perf_counter()
        status, answer = self._exchange(self._connections[0], request)
        seconds = time.perf_counter() - began
        if status not in (200, 201, 202):
            raise BenchmarkError(f"{method} {path} answered {status}: {answer[:500]!r}")
        return seconds, answer

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.sock.close()
        self._connections.clear()

    def _go_on(self, connection: Connection) -> dict[str, Any] | None:
        """Read what came; return the run if it has ended, else wait for it on the server."""
        connection.receive_some()
        reply = connection.take_reply()
        if reply is None:
            return None
        status, body = reply
        if status not in (200, 202):
            raise BenchmarkError(f"the server answered {status}: {body[:500].decode()}")
        run: dict[str, Any] = json.loads(body)
        if run["state"] in FINAL_STATES:
            return run
        path = f"/api/v1/runs/{run['id']}?wait_s={_WAIT_S}"
        connection.send(self._encode("GET", path))
        return None

    def _encode(
        self, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
    ) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: ".encode() + self._host + b"\r\n"
        if body:
            head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n".encode()
        return head + b"\r\n" + body

    def _open(self, n_connections: int) -> None:
        """See to it that so many connections are open and answered lately.

        A server may close what was idle; opening belongs to no measured time, since a client that
        posts often keeps its connections.
        """
        for i in range(n_connections):
            if i == len(self._connections):
                self._connections.append(Connection(self._connect()))
            if not self._is_alive(self._connections[i]):
                self._connections[i].sock.close()
                self._connections[i] = Connection(self._connect())
                if not self._is_alive(self._connections[i]):
                    raise BenchmarkError(f"{self._address} closes new connections")

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(self._address, timeout=_OPEN_TIMEOUT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _is_alive(self, connection: Connection) -> bool:
        try:
            return self._exchange(connection, self._encode("GET", "/livez"))[0] == 200
        except (ConnectionError, BenchmarkError):
            return False

    def _exchange(self, connection: Connection, request: bytes) -> tuple[int, bytes]:
        connection.send(request)
        while (reply := connection.take_reply()) is None:
            connection.receive_some()
        return reply
