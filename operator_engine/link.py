"""A child's end of main's Unix socket: it connects again whenever main was away."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

import msgspec

from executors.transport.errors import PeerClosedError, TransportError
from executors.transport.frames import FrameSocket, connect
from operator_engine.messages import ChildHello

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.02
_MAX_PAUSE_S = 0.5


class MainLink:
    """The connection to main, kept up by a thread of its own.

    Parameters
    ----------
    path : str
        Main's Unix socket.
    role : str
        `execution` or `monitor`.
    make_hello : callable
        Makes the first message of each connection: all that main must know.
    on_payload : callable
        Called with each message of main, from the link's thread.
    """

    def __init__(
        self,
        path: str,
        role: str,
        make_hello: Callable[[], bytes],
        on_payload: Callable[[bytes], None],
    ) -> None:
        self._path = path
        self._role = role
        self._make_hello = make_hello
        self._on_payload = on_payload
        self._lock = threading.Lock()
        self._sock: FrameSocket | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Connect in the background, now and whenever the connection breaks."""
        threading.Thread(target=self._run, name="main-link", daemon=True).start()

    def send(self, message: msgspec.Struct) -> bool:
        """Send a message, or tell that main is away.

        What a message says must be known to `make_hello` before it is sent here: then main learns
        it from one of the two.
        """
        with self._lock:
            if self._sock is None:
                return False
            try:
                self._sock.send(msgspec.json.encode(message))
            except PeerClosedError:
                return False
            return True

    def close(self) -> None:
        """Close the connection for good."""
        self._stopped.set()
        with self._lock:
            if self._sock is not None:
                self._sock.close()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stopped.is_set():
            try:
                sock = self._connect()
            except TransportError as error:
                log.debug("main_not_reached detail=%s", error)
                self._stopped.wait(pause_s)
                pause_s = min(_MAX_PAUSE_S, pause_s * 2)
                continue
            pause_s = _FIRST_PAUSE_S
            self._listen(sock)

    def _connect(self) -> FrameSocket:
        sock = connect(self._path)
        try:
            with self._lock:
                hello = ChildHello(role=self._role, pid=os.getpid())
                sock.send(msgspec.json.encode(hello))
                sock.send(self._make_hello())
                self._sock = sock
        except TransportError:
            sock.close()
            raise
        return sock

    def _listen(self, sock: FrameSocket) -> None:
        try:
            while True:
                payload = sock.receive()
                if payload is not None:
                    self._on_payload(payload)
        except TransportError as error:
            if not self._stopped.is_set():
                log.warning("main_lost detail=%s", error)
        finally:
            with self._lock:
                self._sock = None
            sock.close()
