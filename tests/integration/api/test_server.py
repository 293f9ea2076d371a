"""The api as a process of its own, under gunicorn."""

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dag_engine.config import hold_settings, settings_path
from dag_engine.storage import tokens as stored_tokens
from tests.support.api_rig import SECRET, YAML, ApiRig, write_dag
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]


class Server:
    """One api process with a socket that the test has bound."""

    def __init__(self, rig: ApiRig, folder: Path) -> None:
        self.rig = rig
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self.sock.getsockname()[1]
        settings = hold_settings(rig.config)
        self.log = folder / "api.log"
        number = self.sock.fileno()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "dag_engine.api",
                    str(settings_path(settings)),
                    f"fd://{number}",
                ],
                pass_fds=[number, settings],
                cwd=ROOT,
                stderr=log,
                stdout=log,
                start_new_session=True,
            )
        os.close(settings)

    def call(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(
                method, path, body, {name.replace("_", "-"): text for name, text in headers.items()}
            )
            reply = connection.getresponse()
            return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()

    def send(self, raw: bytes) -> bytes:
        """Send bytes as they are and read all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(raw)
            data = b""
            with contextlib.suppress(ConnectionError):
                while piece := sock.recv(65536):
                    data += piece
        return data

    def workers(self) -> set[int]:
        """Return the process ids of the workers."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in path.read_text().split()}

    def close(self) -> None:
        """End it in order, and see that it does."""
        self.process.terminate()
        try:
            self.process.wait(15)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.sock.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, _empty_sqlite: Path) -> Iterator[Server]:
    """One server for all tests of this file that do not end it."""
    home = tmp_path_factory.mktemp("served")
    shutil.copy(_empty_sqlite, home / "dagengine.db")
    rig = ApiRig(home, f"sqlite:///{home / 'dagengine.db'}", server={"workers": 2})
    rig.register()
    made = Server(rig, tmp_path_factory.mktemp("process"))
    wait_until(lambda: made.call("GET", "/readyz")[0] == 200, 30)
    yield made
    made.close()
    rig.close()


def test_run_is_posted_watched_and_its_end_waited_for(server: Server) -> None:
    rig = server.rig
    status, headers, body = server.call(
        "POST", "/api/v1/runs", write_dag("读").encode(), Content_Type=YAML
    )
    run_id = json.loads(body)["id"]
    found: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(
                json.loads(server.call("GET", f"/api/v1/runs/{run_id}?wait_s=30")[2])["state"]
            )
        ),
        threading.Thread(
            target=lambda: found.append(
                server.call("GET", f"/api/v1/runs/{run_id}/events", Accept="text/event-stream")[2]
                .decode()
                .count("event: end")
            )
        ),
    ]
    for thread in threads:
        thread.start()

    rig.play(run_id, "succeeded", 读="succeeded")

    for thread in threads:
        thread.join(20)
    assert (status, headers["location"]) == (202, f"/api/v1/runs/{run_id}")
    assert sorted(map(str, found)) == ["1", "succeeded"]


def test_connection_is_kept_between_calls(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/livez")
        reply = connection.getresponse()
        assert reply.read() == b'{"status":"alive"}'
        assert not reply.will_close
    connection.close()


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"GARBAGE\r\n\r\n", 400, "bad_request"),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 300_000 + b"\r\n\r\n",
         431, "headers_too_large"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "uri_too_long"),
        (b"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\n"
         b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"),
        (b"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\n"
         b"Content-Length: 107374182400\r\nConnection: close\r\n\r\n", 413, "body_too_large"),
        (b"GET /livez HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
         403, "foreign_host"),
        (b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", 403, "foreign_host"),
    ],
)  # fmt: skip
def test_requests_beyond_the_limits_are_answered_with_problems(
    server: Server, raw: bytes, status: int, code: str
) -> None:
    head, _, body = server.send(raw).partition(b"\r\n\r\n")

    assert head.split()[1] == str(status).encode()
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == code


@pytest.mark.parametrize("n_chunks", [17, 40])
def test_chunks_beyond_the_limit_are_too_large(server: Server, n_chunks: int) -> None:
    head = (
        b"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    chunk = b"100000\r\n" + b"#" * 0x100000 + b"\r\n"

    answer = server.send(head + chunk * n_chunks + b"0\r\n\r\n")

    # where the server hangs up while we still send, the answer may be lost
    assert answer.split()[1:2] in ([b"413"], []), answer
    assert server.call("GET", "/livez")[0] == 200


def test_slow_clients_do_not_keep_others_waiting(server: Server) -> None:
    slow = []
    for number in range(60):
        sock = socket.create_connection(("127.0.0.1", server.port))
        text = b"GET /livez HTTP/1.1\r\nHost: loc" if number % 2 else b""
        sock.sendall(text)
        slow.append(sock)
    began = time.monotonic()

    status, _, _ = server.call("GET", "/livez")

    assert (status, time.monotonic() - began < 2.0) == (200, True)
    for sock in slow:
        sock.close()


def test_killed_worker_is_replaced_and_its_requests_come_elsewhere(server: Server) -> None:
    before = wait_until(lambda: len(server.workers()) == 2 and server.workers())
    victim = min(before)

    os.kill(victim, signal.SIGKILL)

    wait_until(lambda: len(server.workers() - {victim}) == 2, 15)
    for _ in range(8):
        assert server.call("GET", "/api/v1/runs")[0] == 200


def test_figures_of_all_workers_are_added_up(server: Server) -> None:
    def count() -> float:
        text = server.call("GET", "/metrics")[2].decode()
        name = 'dagengine_http_request_duration_seconds_count{status="4xx"} '
        return float(text.partition(name)[2].partition("\n")[0])

    before = count()
    for _ in range(10):
        server.call("GET", "/api/v1/nothing")

    assert count() == before + 10


def start_beyond_loopback(
    make_rig: Callable[..., ApiRig], folder: Path, *, token: str
) -> tuple[ApiRig, Server]:
    rig = make_rig()
    if token:
        digest = hashlib.sha256(token.encode()).hexdigest()
        stored_tokens.add_token(rig.database, digest, role="admin", name="测试")
    rig.config = replace(rig.config, server=replace(rig.config.server, host="0.0.0.0", workers=1))
    return rig, Server(rig, folder)


def test_without_a_token_it_refuses_to_listen_beyond_this_machine(
    make_rig: Callable[..., ApiRig], tmp_path: Path
) -> None:
    _, server = start_beyond_loopback(make_rig, tmp_path, token="")

    assert server.process.wait(20) == 2
    server.close()
    assert "dagengine tokens add" in server.log.read_text()


def test_with_a_token_it_listens_and_asks_for_it(
    make_rig: Callable[..., ApiRig], tmp_path: Path
) -> None:
    _, server = start_beyond_loopback(make_rig, tmp_path, token="right")
    wait_until(lambda: server.call("GET", "/livez")[0] == 200, 20)

    without = server.call("GET", "/api/v1/runs")[0]
    given = server.call("GET", "/api/v1/runs", Authorization="Bearer right")[0]
    inside = server.call("GET", "/internal/v1/settings")[0]

    server.close()
    assert (without, given, inside) == (401, 200, 401)


def test_it_ends_in_order_while_streams_are_open(
    make_rig: Callable[..., ApiRig], tmp_path: Path
) -> None:
    # One worker, which answers by then: gunicorn's signal misses those that are just being forked.
    rig = make_rig(server={"workers": 1})
    rig.register()
    server = Server(rig, tmp_path)
    wait_until(lambda: server.call("GET", "/livez")[0] == 200, 20)
    run_id = rig.start("a")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(
        "GET", f"/api/v1/runs/{run_id}/events", headers={"Accept": "text/event-stream"}
    )
    reply = connection.getresponse()
    assert reply.status == 200
    rest: list[bytes] = []

    def read_to_the_end() -> None:
        with contextlib.closing(connection):
            rest.append(reply.read())  # raises where the answer is cut off

    reader = threading.Thread(target=read_to_the_end)
    reader.start()
    began = time.monotonic()

    server.close()

    assert time.monotonic() - began < 4.5
    reader.join(10)
    assert rest, "the stream was cut off"


_FAILING_WORKER = """
import sys
from dag_engine.api import __main__ as api

def fail(*_):
    raise RuntimeError(f"no place for {secret}")

secret = sys.argv.pop(1)
api._prepare = fail
raise SystemExit(api.main(sys.argv[1:]))
"""


def test_the_log_of_gunicorn_itself_bears_no_secret(make_rig: Callable[..., ApiRig]) -> None:
    rig = make_rig(server={"port": 0, "workers": 1})
    settings = hold_settings(rig.config)

    ended = subprocess.run(
        [sys.executable, "-c", _FAILING_WORKER, SECRET, str(settings_path(settings))],
        pass_fds=(settings,),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    os.close(settings)

    assert ended.returncode != 0
    assert "RuntimeError: no place for ***" in ended.stderr
    assert f"RuntimeError: no place for {SECRET}" not in ended.stderr
