"""A small threaded HTTP/1.1 server for messages between the engines.

It does what the way of a task needs and no more: kept-alive connections, one thread each,
TCP_NODELAY, one write per answer, streams as chunks. Parsing is that of `httptools` (llhttp). The
public API is served by gunicorn instead.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import httptools
import msgspec

from executors.transport.frames import READ_SIZE

log = logging.getLogger(__name__)

_HEADER_LIMIT_BYTES = 64 * 1024
_IDLE_TIMEOUT_S = 300.0
_ACCEPT_PAUSE_S = 0.1


@dataclass(slots=True)
class Request:
    """One request: `query` holds the last value of each name, `headers` have lower-case names."""

    method: str = ""
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    peer: str = ""


@dataclass(slots=True)
class Response:
    """One answer: a body, or a `stream` of pieces that is sent in chunks until it ends."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    stream: Iterable[bytes] | None = None


Handler = Callable[[Request], Response]


class _BadRequestError(Exception):
    """What came is not a request that is let in."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


class _RequestReader:
    """Collects the requests of one connection from the parser's callbacks."""

    def __init__(self, sock: socket.socket, peer: str, max_body_bytes: int) -> None:
        self._sock = sock
        self._peer = peer
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._has_head = False
        self._complete: list[tuple[Request, bool]] = []

    def read(self) -> tuple[Request, bool] | None:
        """Return the next request and whether the connection stays open after it; None at the
        end.
        """
        while not self._complete:
            data = self._sock.recv(READ_SIZE)
            if not data:
                return None
            if not self._has_head:
                self._head_size += len(data)
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as error:
                raise _BadRequestError(400, "Upgrades are not offered here.") from error
            except httptools.HttpParserCallbackError as error:
                cause = error.__context__
                raise cause if isinstance(cause, _BadRequestError) else error from error
            except httptools.HttpParserError as error:
                raise _BadRequestError(400, f"Not an HTTP/1.1 request: {error}") from error
            if not self._has_head and self._head_size > _HEADER_LIMIT_BYTES:
                raise _BadRequestError(431, "The headers are too long.")
        return self._complete.pop(0)

    def on_message_begin(self) -> None:
        """Start a request (called by the parser, as are all `on_…`)."""
        self._url, self._headers, self._body = b"", {}, []
        self._size = 0
        self._has_head = False

    def on_url(self, url: bytes) -> None:
        """Take a piece of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Look at the announced length before the body comes."""
        self._has_head = True
        self._head_size = 0
        length = self._headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            raise _BadRequestError(413, f"At most {self._max_body_bytes} bytes are let in.")
        if self._headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._size += len(body)
        if self._size > self._max_body_bytes:
            raise _BadRequestError(413, f"At most {self._max_body_bytes} bytes are let in.")
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Put the request together."""
        self._has_head = False
        url = self._url.decode("latin-1")
        path, _, query = url.partition("?")
        request = Request(
            method=self._parser.get_method().decode("ascii"),
            path=unquote(path),
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=self._headers,
            body=b"".join(self._body),
            peer=self._peer,
        )
        self._complete.append((request, self._parser.should_keep_alive()))


class HttpServer:
    """Serves requests with a handler that is called from many threads."""

    def __init__(
        self,
        handler: Handler,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        name: str = "http",
        max_body_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._handler = handler
        self._name = name
        self._max_body_bytes = max_body_bytes
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=256)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._is_closed = False

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Accept connections in a thread of its own, from now on."""
        threading.Thread(target=self._accept, name=f"{self._name}-accept", daemon=True).start()

    def close(self) -> None:
        """Stop accepting and break off what is open."""
        with self._lock:
            self._is_closed = True
            connections = list(self._connections)
        for sock in [self._listener, *connections]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                log.debug("socket_was_closed name=%s", self._name)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, address = self._listener.accept()
            except OSError as error:
                if self._is_closed:
                    return
                log.warning("accept_failed name=%s detail=%s", self._name, error)
                time.sleep(_ACCEPT_PAUSE_S)  # out of descriptors, say: not again at once
                continue
            with self._lock:
                if self._is_closed:
                    sock.close()
                    return
                self._connections.add(sock)
            threading.Thread(
                target=self._serve, args=(sock, str(address[0])), name=self._name, daemon=True
            ).start()

    def _serve(self, sock: socket.socket, peer: str) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(_IDLE_TIMEOUT_S)
            self._serve_requests(sock, _RequestReader(sock, peer, self._max_body_bytes))
        except OSError as error:
            log.debug("connection_ended name=%s peer=%s detail=%s", self._name, peer, error)
        finally:
            with self._lock:
                self._connections.discard(sock)
            sock.close()

    def _serve_requests(self, sock: socket.socket, reader: _RequestReader) -> None:
        while True:
            try:
                item = reader.read()
            except _BadRequestError as error:
                _send(sock, problem(error.status, "bad_request", error.message), is_open=False)
                return
            if item is None:
                return
            request, is_open = item
            response = self._answer(request)
            if response.stream is not None:
                _send_stream(sock, response)
                return
            _send(sock, response, is_open=is_open)
            if not is_open:
                return

    def _answer(self, request: Request) -> Response:
        try:
            return self._handler(request)
        except Exception:
            log.exception("handler_failed method=%s path=%s", request.method, request.path)
            return problem(500, "internal", "The request failed; the service's log tells more.")


def problem(status: int, code: str, detail: str) -> Response:
    """Make an RFC 9457 problem answer."""
    title = HTTPStatus(status).phrase
    body = msgspec.json.encode({"status": status, "title": title, "code": code, "detail": detail})
    return Response(status, body, "application/problem+json")


def _head(response: Response, length_line: str, *, is_open: bool) -> bytes:
    extra = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    return (
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n"
        f"Content-Type: {response.content_type}\r\n{length_line}\r\n"
        f"Connection: {'keep-alive' if is_open else 'close'}\r\n{extra}\r\n"
    ).encode("latin-1")


def _send(sock: socket.socket, response: Response, *, is_open: bool) -> None:
    head = _head(response, f"Content-Length: {len(response.body)}", is_open=is_open)
    sock.sendall(head + response.body)


def _send_stream(sock: socket.socket, response: Response) -> None:
    stream = response.stream or ()
    try:
        sock.sendall(_head(response, "Transfer-Encoding: chunked", is_open=False))
        for piece in stream:
            if piece:
                sock.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        sock.sendall(b"0\r\n\r\n")
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()
