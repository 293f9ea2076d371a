"""Framed sockets for the supervisor's event loop: they never block, and send at the round's end."""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Callable

from executors.local.loop import Loop
from executors.transport.errors import FrameTooLargeError
from executors.transport.frames import READ_SIZE, FrameDecoder, encode_frame

log = logging.getLogger(__name__)

_BACKLOG_LIMIT_BYTES = 256 * 1024 * 1024


class Outbox:
    """The channels that have something to send; flushed once a round, after the journal."""

    def __init__(self) -> None:
        self._waiting: dict[Channel, None] = {}

    def add(self, channel: Channel) -> None:
        """Remember a channel; the order is that of the first payload."""
        self._waiting[channel] = None

    def flush(self) -> None:
        """Send everything."""
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            for channel in waiting:
                channel.flush()


class Channel:
    """One connection of the supervisor, to a client or a worker.

    Parameters
    ----------
    loop, outbox : Loop, Outbox
        The event loop, and what is flushed after each of its rounds.
    sock : socket
        A connected stream socket; owned by the channel from now on.
    on_payload, on_closed : callable
        Called with each payload, and once when the peer is gone or breaks the protocol.
    limit_bytes : int
        The longest payload that is let in.
    """

    def __init__(
        self,
        loop: Loop,
        outbox: Outbox,
        sock: socket.socket,
        on_payload: Callable[[bytes], None],
        on_closed: Callable[[], None],
        limit_bytes: int,
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._outbox = outbox
        self._sock = sock
        self._on_payload = on_payload
        self._on_closed = on_closed
        self._decoder = FrameDecoder(limit_bytes)
        self._unsent = bytearray()
        self._events = selectors.EVENT_READ
        self._n_read = 0
        self.is_closed = False
        loop.watch(sock.fileno(), self._on_ready, self._events)

    def send(self, payload: bytes) -> None:
        """Take a payload; it leaves at the end of the round."""
        self._unsent += encode_frame(payload)
        self._outbox.add(self)

    def flush(self) -> None:
        """Send what the peer takes now; the rest follows when it is ready."""
        if self.is_closed:
            return
        if self._unsent:
            try:
                del self._unsent[: self._sock.send(self._unsent)]
            except BlockingIOError:
                pass
            except OSError:
                self._fail()
                return
        if len(self._unsent) > _BACKLOG_LIMIT_BYTES:
            log.warning("peer_reads_too_slowly unsent_bytes=%d", len(self._unsent))
            self._fail()
            return
        self._set_events(selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0))

    def close(self) -> None:
        """Close without calling `on_closed`."""
        if not self.is_closed:
            self.is_closed = True
            self._loop.forget(self._sock.fileno())
            self._sock.close()

    def read(self) -> None:
        """Read what has come, and hand it on."""
        try:
            data = self._sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._fail()
            return
        self._n_read += len(data)
        try:
            payloads = self._decoder.feed(data)
        except FrameTooLargeError as error:
            log.warning("frame_refused error=%s", error)
            self._fail()
            return
        for payload in payloads:
            if not self.is_closed:
                self._on_payload(payload)

    def drain(self) -> None:
        """Read until nothing is left, then close; for a peer that is dead."""
        while not self.is_closed:
            n_read = self._n_read
            self.read()
            if self._n_read == n_read:
                self.close()

    def _on_ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._outbox.add(self)
        if mask & selectors.EVENT_READ and not self.is_closed:
            self.read()

    def _fail(self) -> None:
        self.close()
        self._on_closed()

    def _set_events(self, events: int) -> None:
        if events != self._events:
            self._events = events
            self._loop.rewatch(self._sock.fileno(), self._on_ready, events)
