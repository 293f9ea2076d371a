"""A small real HTTP server that answers what a test tells it to, and remembers what it was
asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(slots=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(slots=True)
class CannedApi:
    """Answers by `METHOD /path`; a list of answers is given one after the other, the last one
    again and again.
    """

    url: str = ""
    answers: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def put(self, call: str, *bodies: Any, status: int = 200) -> None:
        """Answer a call with these bodies."""
        self.answers[call] = [(status, body) for body in bodies]

    def find(self, call: str) -> list[Asked]:
        """Find the requests of a call."""
        return [asked for asked in self.asked if f"{asked.method} {asked.path}" == call]

    def answer(self, asked: Asked) -> tuple[int, Any]:
        """Choose the answer."""
        self.asked.append(asked)
        answers = self.answers.get(f"{asked.method} {asked.path}")
        if not answers:
            detail = f"nothing is put for {asked.method} {asked.path}"
            return 404, {"status": 404, "code": "not_found", "detail": detail}
        return answers.pop(0) if len(answers) > 1 else answers[0]


@contextmanager
def run_canned_api() -> Iterator[CannedApi]:
    """Run the server for the length of a test."""
    canned = CannedApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, unquote(parts.path), query, headers, body)
            status, answer = canned.answer(asked)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", '"v1"')
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - names of the base class

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    canned.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield canned
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
