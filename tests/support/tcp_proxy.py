"""A way to a server that a test can cut: a plain TCP proxy."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator


class TcpProxy:
    """Passes bytes on to a server until it is cut, and again once it is mended.

    Cut, it refuses connections and breaks off those that are open; stalled, it keeps them and
    passes nothing on, as a network does that swallows packets.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._accept_from(self._listener)

    def cut(self) -> None:
        """Break off all connections and refuse new ones."""
        with self._lock:
            listener, self._listener = self._listener, None
            pairs, self._pairs = self._pairs, []
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for sock in (sock for pair in pairs for sock in pair):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._flows.set()

    def stall(self) -> None:
        """Keep all connections, but pass nothing on until they are cut."""
        self._flows.clear()

    def mend(self) -> None:
        """Let connections through again, at the same port."""
        with self._lock:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._accept_from(self._listener)

    def _accept_from(self, listener: socket.socket) -> None:
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(self._server)
            except OSError:
                return
            with self._lock:
                self._pairs.append((client, server))
            threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        others = {client: server, server: client}
        with client, server, selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            for sock in others:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(sock, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr] # only sockets
                    self._flows.wait()
                    if not data:
                        return
                    others[key.fileobj].sendall(data)  # type: ignore[index] # only sockets


@contextlib.contextmanager
def open_proxy(host: str, port: int) -> Iterator[TcpProxy]:
    """Open a proxy to a server, and cut it at the end."""
    proxy = TcpProxy(host, port)
    try:
        yield proxy
    finally:
        proxy.cut()
