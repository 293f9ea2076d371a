"""The benchmark's client posts, waits for the end, and takes no refusal for a result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.client import ApiClient, BenchmarkError
from executors.transport.http_server import HttpServer, Request, Response


class RunsStandIn:
    """Answers like the runs resource; a run ends at the `n_looks`-th look."""

    def __init__(self, n_looks: int = 1, status: int = 202) -> None:
        self.n_looks = n_looks
        self.status = status
        self.looks: dict[str, int] = {}
        self.bodies: list[bytes] = []
        self.content_types: set[str] = set()

    def answer(self, request: Request) -> Response:
        if request.path == "/livez":
            return Response(200, b"{}")
        if request.method == "POST":
            self.bodies.append(request.body)
            self.content_types.add(request.headers["content-type"])
            run_id = request.body.decode()
            return self._show(run_id, "pending", self.status)
        run_id = request.path.rpartition("/")[2]
        self.looks[run_id] = self.looks.get(run_id, 0) + 1
        return self._show(run_id, "succeeded" if self.looks[run_id] >= self.n_looks else "running")

    def _show(self, run_id: str, state: str, status: int = 200) -> Response:
        return Response(status, json.dumps({"id": run_id, "state": state}).encode())


@contextmanager
def serve(stand_in: RunsStandIn) -> Iterator[ApiClient]:
    server = HttpServer(stand_in.answer, "127.0.0.1", 0)
    server.start()
    client = ApiClient(server.url)
    try:
        yield client
    finally:
        client.close()
        server.close()


def test_runs_are_looked_at_until_they_have_ended() -> None:
    stand_in = RunsStandIn(n_looks=3)
    with serve(stand_in) as client:
        seconds, runs = client.run_files([b"r1"], "application/yaml", 10)
    assert seconds > 0
    assert runs == [{"id": "r1", "state": "succeeded"}]
    assert stand_in.looks == {"r1": 3}
    assert stand_in.content_types == {"application/yaml"}


def test_all_files_are_posted_before_any_end_is_waited_for() -> None:
    stand_in = RunsStandIn()
    with serve(stand_in) as client:
        _, runs = client.run_files([b"r1", b"r2", b"r3"], "application/json", 10)
    assert sorted(stand_in.bodies) == [b"r1", b"r2", b"r3"]
    assert {run["id"] for run in runs} == {"r1", "r2", "r3"}


def test_refusal_breaks_off_with_what_the_server_said() -> None:
    with (
        serve(RunsStandIn(status=422)) as client,
        pytest.raises(BenchmarkError, match=r"answered 422: .*r1"),
    ):
        client.run_files([b"r1"], "application/json", 10)


def test_run_that_never_ends_breaks_off_at_the_deadline() -> None:
    with (
        serve(RunsStandIn(n_looks=10**9)) as client,
        pytest.raises(BenchmarkError, match=r"not finished within 0\.2 s"),
    ):
        client.run_files([b"r1"], "application/json", 0.2)


def test_connection_that_the_server_closed_is_opened_again_before_the_clock_runs() -> None:
    stand_in = RunsStandIn()
    with serve(stand_in) as client:
        client.run_files([b"r1"], "application/json", 10)
        client._connections[0].sock.shutdown(2)
        client.run_files([b"r2"], "application/json", 10)
    assert stand_in.bodies == [b"r1", b"r2"]
