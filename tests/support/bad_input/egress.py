"""S26: URLs that lead inside."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator

from tests.support.bad_input.bench import Bench, operator, write_dag
from tests.support.bad_input.registry import case

NAME_OF_LOOPBACK = "2130706433"
"""A host that is no address by its looks; the settings of the suite name it in a root."""

INSIDE = (
    "http://127.0.0.1/open/a.csv",
    "http://[::1]/open/a.csv",
    "http://[::ffff:127.0.0.1]/open/a.csv",
    "http://0x7f.1/open/a.csv",
    "http://169.254.169.254/latest/meta-data/",
    "http://localhost./open/a.csv",
    "https://data.example@127.0.0.1/open/a.csv",
    "https://user:pass@data.example/open/a.csv",
    "https://data.example\\@127.0.0.1/open/a.csv",
    "https://data.example.evil.example/open/a.csv",
    "file:///etc/passwd",
    "gopher://data.example/open/a.csv",
    "ftp://data.example/open/a.csv",
    "simplecache::https://data.example/open/a.csv",
)


@contextlib.contextmanager
def _serve(asked: list[str], port: int = 0, status: int = 200, location: str = "") -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(b"a\n1\n")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _read(bench: Bench, uri: str) -> str:
    asked = {"uri": uri, "id": "remote", "format": "csv"}
    reply = bench.send("POST", "/api/v1/datasets", json=asked)
    assert reply.status_code == 201, reply.text
    return write_dag(operator("algo_local_read_file", {"data_id": "remote"}))


@case(
    26,
    "URLs to loopback, private, link-local and metadata addresses in every spelling, names and "
    "redirects that lead there, `file://`, `gopher://`, `user:pass@`",
    "422 source_refused",
    "run invalid_input",
    about="the message says `egress_denied`; DNS rebinding is tried in "
    "tests/unit/executors/runtime/test_egress.py",
)
def urls(bench: Bench) -> None:
    """Refused when registered, or, where only the name's address tells, when fetched."""
    for uri in INSIDE:
        asked = {"uri": uri, "id": "u", "format": "csv"}
        bench.refuse("POST", "/api/v1/datasets", 422, "source_refused", json=asked)
    came: list[str] = []
    with _serve(came, bench.ports[0]) as port:
        text = _read(bench, f"http://{NAME_OF_LOOPBACK}:{port}/a.csv")
        assert "egress_denied" in bench.fail_run(text, "invalid_input")["message"]
        assert came == []
        run_id = bench.run(_read(bench, f"http://127.0.0.1:{port}/allowed.csv"))
        assert bench.get(f"/api/v1/runs/{run_id}/tasks/a")["outputs"][0]["rows"] == 1
    away: list[str] = []
    with (
        _serve(came) as inside,
        _serve(away, bench.ports[0], 302, f"http://127.0.0.1:{inside}/") as port,
    ):
        came.clear()
        text = _read(bench, f"http://127.0.0.1:{port}/away.csv")
        assert "answered 302" in bench.fail_run(text, "invalid_input")["message"]
        assert (away, came) == (["/away.csv"], [])
