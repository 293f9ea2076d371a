"""The proxy that disturbs connections really disturbs them, and only in the way it was asked to."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.tcp_proxy import CommitWatcher, PostWatcher, TcpProxy, open_proxy
from tests.support.waiting import wait_until

POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
GET = b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n"


class EchoServer:
    """Answers every piece with `+` and itself, and keeps what came."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        self._open.append(sock)
        with sock, contextlib.suppress(OSError):
            while data := sock.recv(65536):
                self.came.append(data)
                sock.sendall(b"+" + data)
        self._open.remove(sock)

    @property
    def n_open(self) -> int:
        return len(self._open)

    def end(self, number: int) -> None:
        """End one of the connections that are open."""
        self._open[number].shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def server() -> Iterator[EchoServer]:
    echo = EchoServer()
    yield echo
    echo.close()


@pytest.fixture
def proxy(server: EchoServer) -> Iterator[TcpProxy]:
    with open_proxy("127.0.0.1", server.port, PostWatcher) as opened:
        yield opened


def _connect(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def test_a_post_is_sent_twice_as_often_as_it_was_asked_for(
    server: EchoServer, proxy: TcpProxy
) -> None:
    proxy.duplicate(1)
    with _connect(proxy) as sock:
        for request in (GET, POST, POST):
            sock.sendall(request)
            assert sock.recv(1000) == b"+" + request
    wait_until(lambda: server.came.count(POST) == 3)
    assert server.came.count(GET) == 1
    assert proxy.n_duplicated == 1


def test_the_answer_to_a_post_is_lost_after_the_server_got_it(
    server: EchoServer, proxy: TcpProxy
) -> None:
    proxy.drop_replies(1)
    with _connect(proxy) as sock:
        sock.sendall(POST)
        assert sock.recv(1000) == b""
    assert server.came == [POST]
    with _connect(proxy) as sock:
        sock.sendall(POST)
        assert sock.recv(1000) == b"+" + POST
    assert proxy.n_replies_dropped == 1


def test_a_reset_connection_says_so_and_a_new_one_is_let_in(proxy: TcpProxy) -> None:
    with _connect(proxy) as sock:
        sock.sendall(b"a")
        assert sock.recv(10) == b"+a"
        proxy.reset_peer()
        with pytest.raises(ConnectionResetError):
            sock.recv(10)
    with _connect(proxy) as sock:
        sock.sendall(b"a")
        assert sock.recv(10) == b"+a"


def test_stalled_answers_come_after_the_mending_and_none_after_a_cut(
    server: EchoServer, proxy: TcpProxy
) -> None:
    with _connect(proxy) as sock:
        proxy.stall(requests=False)
        sock.sendall(b"a")
        wait_until(lambda: server.came == [b"a"])
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(10)
        proxy.mend()
        assert sock.recv(10) == b"+a"
        proxy.cut()
        assert sock.recv(10) == b""
    with pytest.raises(ConnectionRefusedError):
        _connect(proxy)
    proxy.mend()
    _connect(proxy).close()


def _connect_known(proxy: TcpProxy) -> socket.socket:
    """Connect, and wait until the server serves it."""
    sock = _connect(proxy)
    sock.sendall(b"a")
    assert sock.recv(10) == b"+a"
    return sock


def test_the_end_of_a_connection_is_not_told_while_all_is_stalled(
    server: EchoServer, proxy: TcpProxy
) -> None:
    left, kept = _connect_known(proxy), _connect_known(proxy)
    with left, kept:
        proxy.stall()
        left.close()
        server.end(1)
        wait_until(lambda: server.n_open == 1)
        kept.settimeout(0.2)
        with pytest.raises(TimeoutError):
            kept.recv(10)
        assert server.n_open == 1, "that the client left is not known yet"
        proxy.mend()
        assert kept.recv(10) == b""
        wait_until(lambda: server.n_open == 0)


def test_latency_and_slices_change_when_bytes_come_and_not_which(proxy: TcpProxy) -> None:
    proxy.latency_s, proxy.slice_bytes = 0.1, 2
    with _connect(proxy) as sock:
        began = time.monotonic()
        sock.sendall(b"abcdefg")
        came = b""
        while len(came.replace(b"+", b"")) < 7:
            came += sock.recv(10)
        assert time.monotonic() - began >= 0.2
    assert came.replace(b"+", b"") == b"abcdefg"


def _packet(payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + b"\0" + payload


def test_only_a_statement_that_commits_is_found_in_mysqls_protocol() -> None:
    commits = [b"\x03COMMIT", b"\x03START TRANSACTION;UPDATE t SET a = 1;COMMIT"]
    others = [
        b"\x03SET AUTOCOMMIT",
        b"\x03SELECT 'COMMIT'",
        b"\x03SET autocommit=1, time_zone='+00:00'",
        b"\x16COMMIT",
    ]
    stream = b"".join(_packet(text) for text in [others[0], commits[0], *others[1:], commits[1]])
    watcher = CommitWatcher()
    found = []
    for start in range(0, len(stream), 7):
        found += watcher.feed(stream[start : start + 7])
    assert found == commits


def test_requests_are_found_wherever_the_stream_is_cut_into_pieces() -> None:
    watcher = PostWatcher()
    found = []
    for start in range(0, len(POST + GET + POST), 5):
        found += watcher.feed((POST + GET + POST)[start : start + 5])
    assert found == [POST, POST]
