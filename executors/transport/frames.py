"""Framed messages over Unix sockets: four bytes of length, then the payload.

No `multiprocessing.Queue`: its lock stays taken when a reader is killed. A socket knows when its
peer is gone.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
import time

from executors.transport.errors import FrameTooLargeError, PeerClosedError

_LENGTH = struct.Struct(">I")
FRAME_LIMIT_BYTES = 256 * 1024 * 1024
READ_SIZE = 64 * 1024
"""So much is asked of a socket at once. For 128 KiB and more the C library maps memory anew with
every read, most of which it gives back at once: six hundredths of what a task costs.
"""


def encode_frame(payload: bytes) -> bytes:
    """Put the length before the payload."""
    return _LENGTH.pack(len(payload)) + payload


class FrameDecoder:
    """Cuts a stream of bytes into payloads; for event loops that read by themselves."""

    def __init__(self, limit_bytes: int = FRAME_LIMIT_BYTES) -> None:
        self._buffer = bytearray()
        self._limit_bytes = limit_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Add what was read; return the payloads that are now complete, in order.

        Raises `FrameTooLargeError` where a length is over the limit.
        """
        self._buffer += data
        payloads: list[bytes] = []
        position = 0
        while len(self._buffer) - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, position)
            if length > self._limit_bytes:
                raise FrameTooLargeError(length, self._limit_bytes)
            end = position + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            payloads.append(bytes(self._buffer[position + _LENGTH.size : end]))
            position = end
        if position:
            del self._buffer[:position]
        return payloads


class FrameSocket:
    """A blocking framed socket: any thread may send, one thread receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._send_lock = threading.Lock()
        self._decoder = FrameDecoder()
        self._ready: list[bytes] = []

    def fileno(self) -> int:
        """File descriptor, for selectors."""
        return self._sock.fileno()

    def send(self, payload: bytes) -> None:
        """Send one payload as a whole. Raises `PeerClosedError` where the peer is gone."""
        frame = encode_frame(payload)
        try:
            with self._send_lock:
                self._sock.sendall(frame)
        except OSError as error:
            raise PeerClosedError(str(error)) from error

    def receive(self, timeout_s: float | None = None) -> bytes | None:
        """Return the next payload, or None when none came within `timeout_s` (None = wait for
        ever).

        Raises `PeerClosedError` where the peer is gone.
        """
        payloads = self._ready
        if payloads:
            return payloads.pop(0)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._ready:
            if deadline is not None and not self._is_readable(deadline - time.monotonic()):
                return None
            self._read_some()
        return self._ready.pop(0)

    def receive_ready(self) -> list[bytes]:
        """Return what else has been read already, without waiting."""
        payloads, self._ready = self._ready, []
        return payloads

    def close(self) -> None:
        """Close; a thread that waits in `receive` sees `PeerClosedError`."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.EBADF):
                raise
        self._sock.close()

    def _is_readable(self, timeout_s: float) -> bool:
        poller = select.poll()
        try:
            poller.register(self._sock, select.POLLIN)
        except (OSError, ValueError) as error:
            raise PeerClosedError("closed") from error
        return bool(poller.poll(max(0.0, timeout_s) * 1000))

    def _read_some(self) -> None:
        try:
            data = self._sock.recv(READ_SIZE)
        except OSError as error:
            raise PeerClosedError(str(error)) from error
        if not data:
            raise PeerClosedError("the other end closed the connection")
        self._ready += self._decoder.feed(data)


def _short_path(path: str) -> str:
    """Reach a path of over 107 bytes, which no socket address holds, through its folder."""
    if len(os.fsencode(path)) < 108:
        return path
    folder, name = os.path.split(path)
    return f"/proc/self/fd/{os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)}/{name}"


def _close_short_path(path: str, short: str) -> None:
    if short != path:
        os.close(int(short.split("/")[4]))


def connect(path: str, timeout_s: float = 5.0) -> FrameSocket:
    """Connect to a Unix socket. Raises `PeerClosedError` where nobody listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    short = path
    try:
        short = _short_path(path)
        sock.settimeout(timeout_s)
        sock.connect(short)
        sock.settimeout(None)
    except OSError as error:
        sock.close()
        raise PeerClosedError(f"{path}: {error}") from error
    finally:
        _close_short_path(path, short)
    return FrameSocket(sock)


def listen(path: str, backlog: int = 64) -> socket.socket:
    """Listen on a Unix socket that only this user may open; what a dead process left there is
    removed.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    short = _short_path(path)
    try:
        if os.path.exists(path):
            os.unlink(path)
        old_mask = os.umask(0o177)
        try:
            sock.bind(short)
        finally:
            os.umask(old_mask)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    finally:
        _close_short_path(path, short)
    return sock
