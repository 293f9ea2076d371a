"""A lean HTTP client for the way of a task: one kept-alive connection, used by one thread.

`http.client` takes twice the processor time for a small message, most of it for the headers.
Requests are put together here in one write; answers are parsed by `httptools` (llhttp).
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

from executors.transport.errors import ConnectionFailedError
from executors.transport.frames import READ_SIZE


@dataclass(frozen=True, slots=True)
class HttpReply:
    """Status, body and headers (lower-case names) of an answer."""

    status: int
    body: bytes
    headers: dict[str, str]


class _ReplyReader:
    """Collects one answer from the parser's callbacks."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.has_begun = False
        self.is_complete = False
        self.stays_open = False
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header (called by the parser, as are all `on_…`)."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Note the end; an interim answer (1xx) is not the one that is waited for."""
        if self.parser.get_status_code() >= 200:
            self.is_complete = True
            self.stays_open = self.parser.should_keep_alive()
        else:
            self._headers = {}

    def reply(self) -> HttpReply:
        """Return the whole answer; nothing more is read."""
        reply = HttpReply(self.parser.get_status_code(), b"".join(self._body), self._headers)
        del self.parser  # parser and reader hold each other: only the collector would free them
        return reply


class _ClosedBeforeReplyError(OSError):
    """The connection ended before a byte of the answer came."""


class HttpClient:
    """Requests to one base URL over one kept-alive connection."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = 10.0,
        token: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConnectionFailedError(base_url, "not an http or https URL")
        self.base_url = base_url.rstrip("/")
        self._host = parts.hostname
        self._is_tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        lines = {"Host": parts.netloc.rpartition("@")[2], **(headers or {})}
        if token:
            lines["Authorization"] = f"Bearer {token}"
        self._head = _render(lines)
        self._sock: socket.socket | None = None
        self._begun: tuple[bytes, int] | None = None
        self.is_aborted = False

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        content_type: str = "application/json",
        timeout_s: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> HttpReply:
        """Send one request and read its whole answer; `timeout_s` bounds each wait for bytes.

        A kept-alive connection that the peer has closed meanwhile is opened again once; a request
        is never sent twice after a part of its answer has come. Raises `ConnectionFailedError`
        where no answer came.
        """
        message = self._put_together(method, path, body, content_type, headers)
        return self._ask(message, 0, self._timeout_s if timeout_s is None else timeout_s)

    def begin(self, method: str, path: str, body: bytes) -> bool:
        """Send a request without waiting for anything; its answer is then read by `finish`.

        False where that cannot be, since no plain connection is open: then nothing was sent. So
        whoever must not wait sends, and a thread that may wait takes the answer. Nothing else may
        be asked before `finish`.
        """
        sock = self._sock
        if sock is None or self._is_tls or self.is_aborted:
            return False
        message = self._put_together(method, path, body)
        try:
            # Not by the socket, which would wait for room for as long as its time limit allows.
            n_sent = os.write(sock.fileno(), message)
        except OSError:  # it is full, or closed: `finish` sees to that
            n_sent = 0
        self._begun = (message, n_sent)
        return True

    def finish(self) -> HttpReply:
        """Read the answer to the request that was begun; errors are those of `request`."""
        assert self._begun is not None, "there is nothing to finish"
        (message, n_sent), self._begun = self._begun, None
        return self._ask(message, n_sent, self._timeout_s)

    def _put_together(
        self,
        method: str,
        path: str,
        body: bytes,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> bytes:
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._head}{_render(headers or {})}"
        if body:
            head += f"Content-Type: {content_type}\r\n"
        if body or method not in ("GET", "HEAD"):
            head += f"Content-Length: {len(body)}\r\n"
        return head.encode("latin-1") + b"\r\n" + body

    def _ask(self, message: bytes, n_sent: int, wait_s: float) -> HttpReply:
        """Send what is not sent yet, and read the answer; on a new connection if need be."""
        was_open = self._sock is not None
        try:
            try:
                return self._exchange(message, n_sent, wait_s)
            except (_ClosedBeforeReplyError, ConnectionResetError, BrokenPipeError):
                self.close()
                if not was_open or self.is_aborted:
                    raise
                return self._exchange(message, 0, wait_s)
        except (OSError, httptools.HttpParserError) as error:
            self.close()
            raise ConnectionFailedError(self.base_url, str(error) or repr(error)) from error

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def abort(self) -> None:
        """End the request that another thread waits for, and refuse any later one."""
        self.is_aborted = True
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):  # it was closed meanwhile
                sock.shutdown(socket.SHUT_RDWR)

    def _exchange(self, message: bytes, n_sent: int, timeout_s: float) -> HttpReply:
        sock = self._sock
        if sock is None:
            n_sent = 0  # what went out over a connection that is gone went out in vain
            sock = self._sock = self._connect(timeout_s)
        else:
            sock.settimeout(timeout_s)
        if self.is_aborted:
            raise ConnectionAbortedError("the request was given up")
        if n_sent < len(message):
            sock.sendall(memoryview(message)[n_sent:])
        reader = _ReplyReader()
        while not reader.is_complete:
            data = sock.recv(READ_SIZE)
            if not data:
                self._take_end(reader)
                break
            reader.has_begun = True
            reader.parser.feed_data(data)
        if not reader.stays_open:
            self.close()
        return reader.reply()

    def _take_end(self, reader: _ReplyReader) -> None:
        if not reader.has_begun:
            raise _ClosedBeforeReplyError("the connection was closed without an answer")
        raise httptools.HttpParserError("the connection was closed in the middle of an answer")

    def _connect(self, timeout_s: float) -> socket.socket:
        sock = socket.create_connection((self._host, self._port), timeout=timeout_s)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._is_tls:
                context = ssl.create_default_context()
                return context.wrap_socket(sock, server_hostname=self._host)
        except OSError:
            sock.close()
            raise
        return sock


def _render(headers: dict[str, str]) -> str:
    for name, value in headers.items():
        if "\r" in value or "\n" in value or ":" in name:
            raise ValueError(f"The header {name!r} holds a line break.")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
