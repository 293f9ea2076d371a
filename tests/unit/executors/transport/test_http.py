import gc
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from executors.transport.errors import ConnectionFailedError
from executors.transport.http_client import HttpClient
from executors.transport.http_server import HttpServer, Request, Response


def _echo(request: Request) -> Response:
    if request.path == "/boom":
        raise RuntimeError("secret detail")
    if request.path == "/stream":
        return Response(content_type="text/plain", stream=iter([b"one\n", b"", "二\n".encode()]))
    text = f"{request.method} {request.path} {request.query.get('q', '')} ".encode()
    return Response(200, text + request.body)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    server = HttpServer(_echo, max_body_bytes=1000)
    server.start()
    yield server
    server.close()


def test_requests_share_one_connection(server: HttpServer) -> None:
    client = HttpClient(server.url)
    assert client.request("POST", "/a%20b?q=%E4%B8%AD", "体".encode()).body.decode() == (
        "POST /a b 中 体"
    )
    connection = client._sock
    assert connection is not None
    assert client.request("GET", "/c").body == b"GET /c  "
    assert client._sock is connection
    assert len(server._connections) == 1
    client.close()


def test_a_stream_comes_in_pieces_and_ends(server: HttpServer) -> None:
    client = HttpClient(server.url)
    assert client.request("GET", "/stream").body.decode() == "one\n二\n"
    client.close()


def test_a_failing_handler_answers_500_without_its_detail(server: HttpServer) -> None:
    client = HttpClient(server.url)
    reply = client.request("GET", "/boom")
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    client.close()


def test_a_body_over_the_limit_is_refused_before_it_is_read(server: HttpServer) -> None:
    client = HttpClient(server.url)
    assert client.request("POST", "/a", b"x" * 1000).status == 200
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 413 ")
    client.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000, b"431"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + b"a" * 1024 + b"\r\n",
            b"413",
        ),
    ],
)
def test_a_bad_request_gets_its_status(server: HttpServer, sent: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.settimeout(5)
        sock.sendall(sent)
        assert sock.recv(1000).split()[1] == status


def test_a_closed_server_is_named_in_the_error(server: HttpServer) -> None:
    client = HttpClient(server.url)
    client.request("GET", "/")
    server.close()
    with pytest.raises(ConnectionFailedError, match=server.url):
        client.request("GET", "/")
    client.close()


@pytest.fixture
def stale() -> Iterator[HttpClient]:
    """Make a client whose open connection was closed, since its server was started again."""
    first = HttpServer(_echo)
    first.start()
    client = HttpClient(first.url)
    client.request("GET", "/")
    first.close()
    second = HttpServer(_echo, port=first.port)
    second.start()
    yield client
    client.close()
    second.close()


def test_a_connection_that_went_stale_is_opened_again(stale: HttpClient) -> None:
    assert stale.request("GET", "/again").body == b"GET /again  "


def test_many_connections_are_served_at_once(server: HttpServer) -> None:
    answers: list[bytes] = []

    def ask() -> None:
        client = HttpClient(server.url)
        answers.extend(client.request("GET", "/x").body for _ in range(50))
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"GET /x  "] * 400


def test_an_exchange_leaves_no_ring_for_the_collector(server: HttpServer) -> None:
    client = HttpClient(server.url)
    client.request("GET", "/x")
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            client.request("GET", "/x")
        assert gc.collect() < 20
    finally:
        gc.enable()
        client.close()


def test_a_request_that_was_begun_is_finished_by_another_thread(server: HttpServer) -> None:
    client = HttpClient(server.url)
    assert not client.begin("POST", "/first", b"1")  # nothing is open yet
    client.request("GET", "/")
    assert client.begin("POST", "/second", b"2")
    replies: list[bytes] = []
    thread = threading.Thread(target=lambda: replies.append(client.finish().body))
    thread.start()
    thread.join()
    assert replies == [b"POST /second  2"]
    assert client.request("GET", "/third").body == b"GET /third  "
    client.close()


def test_what_was_begun_on_a_stale_connection_is_sent_over_a_new_one(stale: HttpClient) -> None:
    assert stale.begin("POST", "/again", b"x")
    assert stale.finish().body == b"POST /again  x"


def test_to_begin_waits_for_nobody_and_loses_nothing() -> None:
    body = b"x" * (64 << 20)  # more than any socket holds
    has_begun = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = threading.Thread(target=_read_once_begun, args=(listener, has_begun))
        peer.start()
        client = HttpClient(f"http://127.0.0.1:{listener.getsockname()[1]}")
        client.request("GET", "/")
        began = time.monotonic()
        assert client.begin("POST", "/large", body)
        assert time.monotonic() - began < 5.0  # to send it waits for 10 s
        has_begun.set()
        assert client.finish().body == str(len(body)).encode()
        client.close()
        peer.join()


def _read_once_begun(listener: socket.socket, has_begun: threading.Event) -> None:
    """Answer two requests with the lengths of their bodies; read the second when told to."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        for may_read in (None, has_begun):
            assert may_read is None or may_read.wait(30)
            n_bytes = 0
            for line in iter(stream.readline, b"\r\n"):
                if line.startswith(b"Content-Length: "):
                    n_bytes = int(line.split()[1])
            told = str(len(stream.read(n_bytes))).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told) + told)


def test_what_was_begun_and_given_up_has_no_answer(server: HttpServer) -> None:
    client = HttpClient(server.url)
    client.request("GET", "/")
    assert client.begin("POST", "/x", b"1")
    client.abort()
    with pytest.raises(ConnectionFailedError):
        client.finish()
    assert not client.begin("POST", "/y", b"2")


def test_nothing_is_begun_once_requests_are_given_up(server: HttpServer) -> None:
    client = HttpClient(server.url)
    client.request("GET", "/")
    client.abort()
    assert not client.begin("POST", "/x", b"1")
    client.close()


def test_nothing_is_begun_past_the_encryption() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = HttpClient("https://localhost")
        client._sock = ours
        assert not client.begin("POST", "/x", b"secret")
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
