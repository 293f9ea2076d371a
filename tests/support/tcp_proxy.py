"""A way to a server that a test can disturb: a TCP proxy with the faults of a network.

The words are toxiproxy's: latency, slicer, reset_peer, timeout, down. A proxy may be told which
protocol it carries; then it can lose the answer to one request, or send one twice.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from tests.support.ports import find_free_port

_PIECE_BYTES = 65536
_SWALLOW_S = 0.05
_RESET = struct.pack("ii", 1, 0)
_COMMIT = re.compile(rb"(^|[;\s])COMMIT\s*;?\s*$")
_COM_QUERY = 3
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


class Watcher(Protocol):
    """Reads along what a client sends on one connection."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; return the requests that can be disturbed and are complete by now."""


class CommitWatcher:
    """Finds the messages of MySQL's protocol that end with a COMMIT."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; return the commits that are complete by now."""
        self._buffer += data
        found = []
        while len(self._buffer) >= 4:
            end = 4 + int.from_bytes(self._buffer[:3], "little")
            if len(self._buffer) < end:
                break
            message = bytes(self._buffer[4:end])
            del self._buffer[:end]
            # SET AUTOCOMMIT holds the word, too; so it must be a statement, and the last one.
            if message[:1] == bytes([_COM_QUERY]) and _COMMIT.search(message[1:][-64:]):
                found.append(message)
        return found


class PostWatcher:
    """Finds HTTP requests with the method POST; the clients here send a Content-Length."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; return the POST requests that are complete by now."""
        self._buffer += data
        found = []
        while (end := self._find_end()) is not None:
            request = bytes(self._buffer[:end])
            del self._buffer[:end]
            if request.startswith(b"POST "):
                found.append(request)
        return found

    def _find_end(self) -> int | None:
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = _LENGTH.search(self._buffer, 0, head + 2)
        end = head + 4 + (int(length[1]) if length else 0)
        return end if len(self._buffer) >= end else None


class TcpProxy:
    """Passes bytes on to a server until it is disturbed, and again once it is mended.

    Cut, it refuses connections and breaks off those that are open (toxiproxy's `down`); stalled,
    it keeps them and passes nothing on, as a network does that swallows packets (`timeout`).

    Parameters
    ----------
    host, port : str, int
        The server.
    make_watcher : callable, optional
        `CommitWatcher` or `PostWatcher`: which requests `drop_replies` and `duplicate` mean.
    """

    def __init__(
        self, host: str, port: int, make_watcher: Callable[[], Watcher] | None = None
    ) -> None:
        self.port: int = find_free_port()
        self.latency_s = 0.0
        self.jitter_s = 0.0
        self.slice_bytes = 0
        self.n_replies_dropped = 0
        self.n_duplicated = 0
        self._server = (host, port)
        self._make_watcher = make_watcher
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self._requests_flow = threading.Event()
        self._replies_flow = threading.Event()
        self._links: set[_Link] = set()
        self._n_to_drop = 0
        self._n_to_duplicate = 0
        self.mend()

    def cut(self) -> None:
        """Break off all connections and refuse new ones."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._break_off(is_reset=False)

    def reset_peer(self) -> None:
        """Break off all connections with a reset; new ones are let in."""
        self._break_off(is_reset=True)

    def stall(self, *, requests: bool = True, replies: bool = True) -> None:
        """Keep all connections, but pass nothing on in these directions."""
        if requests:
            self._requests_flow.clear()
        if replies:
            self._replies_flow.clear()

    @property
    def is_stalled(self) -> bool:
        """Whether a direction is stalled."""
        return not (self._requests_flow.is_set() and self._replies_flow.is_set())

    def drop_replies(self, n: int) -> None:
        """Let the next requests reach the server, but break off before their answers come."""
        with self._lock:
            self._n_to_drop = n

    def duplicate(self, n: int) -> None:
        """Send the next HTTP requests twice, the second time on a connection of its own."""
        with self._lock:
            self._n_to_duplicate = n

    def mend(self) -> None:
        """End every disturbance: let everything through at once, at the same port."""
        self.latency_s = self.jitter_s = 0.0
        self.slice_bytes = 0
        self._requests_flow.set()
        self._replies_flow.set()
        with self._lock:
            self._n_to_drop = self._n_to_duplicate = 0
            if self._listener is None:
                self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
                threading.Thread(
                    target=self._accept, args=(self._listener,), daemon=True, name="proxy"
                ).start()

    def _break_off(self, *, is_reset: bool) -> None:
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close(is_reset=is_reset)
        if self._listener is None:
            self._requests_flow.set()
            self._replies_flow.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._server, timeout=5)
            server.settimeout(None)
        except OSError:
            client.close()
            return
        link = _Link(self, client, server, self._make_watcher() if self._make_watcher else None)
        with self._lock:
            self._links.add(link)
            is_down = self._listener is None
        if is_down:
            link.close()
        threading.Thread(target=link.pass_requests, daemon=True, name="proxy-up").start()
        link.pass_replies()

    # --- asked by the links ---

    def forget(self, link: _Link) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            self._links.discard(link)

    def wait_for_flow(self, *, is_reply: bool) -> None:
        """Wait until this direction is not stalled, then for as long as the latency is."""
        (self._replies_flow if is_reply else self._requests_flow).wait()
        delay_s = self.latency_s + self.jitter_s * random.random()
        if delay_s:
            threading.Event().wait(delay_s)

    def take_drop(self) -> bool:
        """Tell whether the answer to a request is to be lost."""
        with self._lock:
            is_dropped = self._n_to_drop > 0
            self._n_to_drop -= is_dropped
            self.n_replies_dropped += is_dropped
        return is_dropped

    def repeat(self, request: bytes) -> None:
        """Send a copy of a request where it is to come twice; its answer is thrown away."""
        with self._lock:
            is_repeated = self._n_to_duplicate > 0
            self._n_to_duplicate -= is_repeated
            self.n_duplicated += is_repeated
        if is_repeated:
            threading.Thread(target=self._send_copy, args=(request,), daemon=True).start()

    def _send_copy(self, request: bytes) -> None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(self._server, timeout=5) as sock,
        ):
            sock.sendall(request)
            sock.recv(_PIECE_BYTES)


class _Link:
    """One connection through the proxy."""

    def __init__(
        self, proxy: TcpProxy, client: socket.socket, server: socket.socket, watcher: Watcher | None
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._watcher = watcher
        self._is_swallowing = False
        self._is_reset = False
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self, *, is_reset: bool = False) -> None:
        """Break it off in both directions; whoever reads or writes notices at once."""
        self._is_reset |= is_reset
        for sock in (self._client, self._server):
            with contextlib.suppress(OSError):
                if self._is_reset:  # an orderly end must not be told before the reset
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    sock.shutdown(socket.SHUT_RD)
                    sock.close()
                else:
                    sock.shutdown(socket.SHUT_RDWR)

    def pass_requests(self) -> None:
        """Pass on what the client sends, until either side ends."""
        try:
            while data := self._client.recv(_PIECE_BYTES):
                found = self._watcher.feed(data) if self._watcher else []
                for request in found:
                    self._proxy.repeat(request)
                    self._is_swallowing |= self._proxy.take_drop()
                self._proxy.wait_for_flow(is_reply=False)
                self._send(self._server, data)
        except OSError:
            pass
        finally:
            self._proxy.wait_for_flow(is_reply=False)  # an end is swallowed like all else
            self.close()

    def pass_replies(self) -> None:
        """Pass on what the server sends, until either side ends."""
        with self._client, self._server, contextlib.suppress(OSError):
            try:
                while data := self._server.recv(_PIECE_BYTES):
                    if self._is_swallowing:
                        # Give the server time to finish what it has begun.
                        threading.Event().wait(_SWALLOW_S)
                        return
                    self._proxy.wait_for_flow(is_reply=True)
                    self._send(self._client, data)
            finally:
                self._proxy.wait_for_flow(is_reply=True)
                self._proxy.forget(self)
                self.close()

    def _send(self, sock: socket.socket, data: bytes) -> None:
        size = self._proxy.slice_bytes or len(data)
        for start in range(0, len(data), size):
            sock.sendall(data[start : start + size])


@contextlib.contextmanager
def open_proxy(
    host: str, port: int, make_watcher: Callable[[], Watcher] | None = None
) -> Iterator[TcpProxy]:
    """Open a proxy to a server, and cut it at the end."""
    proxy = TcpProxy(host, port, make_watcher)
    try:
        yield proxy
    finally:
        proxy.cut()
