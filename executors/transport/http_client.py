"""A lean HTTP client for the way of a task: one kept-alive connection, used by one thread."""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from executors.transport.errors import ConnectionFailedError


@dataclass(frozen=True, slots=True)
class HttpReply:
    """Status, body and headers (lower-case names) of an answer."""

    status: int
    body: bytes
    headers: dict[str, str]


class _Connection(http.client.HTTPConnection):
    """An HTTP connection that sends small messages at once."""

    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _TlsConnection(http.client.HTTPSConnection):
    """The same over TLS."""

    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


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
        self._port = parts.port
        self._is_tls = parts.scheme == "https"
        self._prefix = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._headers = dict(headers or {})
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._connection: http.client.HTTPConnection | None = None

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
        """Send one request and read its whole answer.

        A kept-alive connection that the peer has closed meanwhile is opened again once; a request
        is never sent twice after a part of its answer has come. Raises `ConnectionFailedError`
        where no answer came.
        """
        all_headers = {**self._headers, **(headers or {})}
        if body:
            all_headers["Content-Type"] = content_type
        wait_s = self._timeout_s if timeout_s is None else timeout_s
        was_open = self._connection is not None
        try:
            return self._exchange(method, path, body, all_headers, wait_s)
        except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected) as error:
            self.close()
            if not was_open:
                raise ConnectionFailedError(self.base_url, str(error)) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionFailedError(self.base_url, str(error) or repr(error)) from error
        try:
            return self._exchange(method, path, body, all_headers, wait_s)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionFailedError(self.base_url, str(error) or repr(error)) from error

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(
        self, method: str, path: str, body: bytes, headers: dict[str, str], timeout_s: float
    ) -> HttpReply:
        connection = self._connection
        if connection is None:
            factory = _TlsConnection if self._is_tls else _Connection
            connection = factory(self._host, self._port, timeout=timeout_s)
            self._connection = connection
        elif connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        connection.request(method, self._prefix + path, body=body or None, headers=headers)
        reply = connection.getresponse()
        content = reply.read()
        reply_headers = {name.lower(): value for name, value in reply.getheaders()}
        if reply.will_close:
            self.close()
        return HttpReply(reply.status, content, reply_headers)
