"""Main's end of the Unix socket on which its execution and monitor process connect."""

from __future__ import annotations

import logging
import socket
import threading

import msgspec

from executors.transport.errors import PeerClosedError, TransportError
from executors.transport.frames import FrameSocket, listen
from operator_engine.desk import Desk
from operator_engine.messages import ChildHello, FromExecution, FromMonitor

log = logging.getLogger(__name__)

_DRAIN_S = 2.0
_HELLO_S = 10.0


class ChildServer:
    """Accepts the children, one thread each; a newcomer replaces the former of its role."""

    def __init__(self, desk: Desk, path: str) -> None:
        self._desk = desk
        self._listener = listen(path)
        self._lock = threading.Lock()
        self._present: dict[str, tuple[threading.Thread, FrameSocket]] = {}
        self._is_closed = False

    def start(self) -> None:
        """Accept children from now on."""
        threading.Thread(target=self._accept, name="children", daemon=True).start()

    def close(self) -> None:
        """Stop accepting and break off what is connected."""
        self._is_closed = True
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            log.debug("listener_was_closed detail=%s", error)
        self._listener.close()
        with self._lock:
            present = list(self._present.values())
        for _, link in present:
            link.close()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if not self._is_closed:
                    log.warning("child_not_accepted detail=%s", error)
                continue
            threading.Thread(
                target=self._serve, args=(FrameSocket(sock),), name="child", daemon=True
            ).start()

    def _serve(self, link: FrameSocket) -> None:
        role, pid = "unknown", 0
        try:
            hello = msgspec.json.decode(link.receive(_HELLO_S) or b"{}", type=ChildHello)
            role, pid = hello.role, hello.pid
            self._replace(role, link)
            if role == "execution":
                self._serve_execution(link, pid)
            elif role == "monitor":
                self._serve_monitor(link, pid)
            else:
                log.warning("stranger_on_socket role=%s pid=%d", role, pid)
        except (TransportError, msgspec.DecodeError) as error:
            if not self._is_closed:
                log.warning("child_left role=%s pid=%d detail=%s", role, pid, error)
        finally:
            self._desk.detach(link)
            link.close()

    def _replace(self, role: str, link: FrameSocket) -> None:
        """Read a dead child's last words to their end before its successor is heard.

        An acknowledgement that it sent must be known before the successor's word on the same
        attempt is judged.
        """
        with self._lock:
            former = self._present.get(role)
            self._present[role] = (threading.current_thread(), link)
        if former is None:
            return
        thread, old_link = former
        thread.join(_DRAIN_S)
        if thread.is_alive():
            log.warning("child_replaced_alive role=%s", role)
            old_link.close()
            thread.join(_DRAIN_S)

    def _serve_execution(self, link: FrameSocket, pid: int) -> None:
        decode = msgspec.json.Decoder(FromExecution).decode
        self._desk.attach_execution(link, decode(_receive(link)))
        log.info("child_connected role=execution pid=%d", pid)
        while True:
            self._desk.hear_execution(decode(_receive(link)))

    def _serve_monitor(self, link: FrameSocket, pid: int) -> None:
        decode = msgspec.json.Decoder(FromMonitor).decode
        self._desk.attach_monitor(link, decode(_receive(link)))
        log.info("child_connected role=monitor pid=%d", pid)
        while True:
            self._desk.hear_monitor(decode(_receive(link)))


def _receive(link: FrameSocket) -> bytes:
    payload = link.receive()
    if payload is None:
        raise PeerClosedError("nothing came")
    return payload
