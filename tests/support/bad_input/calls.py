"""S30 to S39: callers, origins, requests that are none, slow clients, floods, text that steers."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.support.bad_input.bench import BODY, JSON, YAML, Bench, operator, write_dag
from tests.support.bad_input.registry import case
from tests.support.services import ROOT, dagengine

_POST = {"data": BODY.encode(), "headers": {"Content-Type": YAML}}


@case(
    30,
    "No token, an unknown, expired or revoked one, one in the query, another scheme",
    "401 token_missing",
    "401 token_unknown",
    about="before anything else of the request is looked at",
)
def tokens(bench: Bench) -> None:
    """Refused everywhere alike."""
    admin = bench.tokens["admin"]
    for method, path, more in (
        ("GET", "/api/v1/runs", {}),
        ("POST", "/api/v1/runs", _POST),
        ("DELETE", "/api/v1/dags/d1", {}),
        ("GET", "/api/v1/no/such/thing", {}),
    ):
        headers = more.get("headers", {})
        rest = {name: value for name, value in more.items() if name != "headers"}
        for name in ("token", "access_token"):
            asked = {"params": {name: admin}, "token": "", "headers": headers}
            bench.refuse(method, path, 401, "token_missing", **rest, **asked)
        for word in (f"Basic {base64.b64encode(admin.encode()).decode()}", f"Token {admin}", admin):
            asked = {"token": "", "headers": headers | {"Authorization": word}}
            bench.refuse(method, path, 401, "token_missing", **rest, **asked)
        for token in (
            "garbage", admin[:-1], f"{admin}x", "ü", bench.tokens["expired"],
            bench.tokens["revoked"], bench.secrets[0],
        ):  # fmt: skip
            word = f"Bearer {token}".encode()
            asked = {"token": "", "headers": headers | {"Authorization": word}}
            bench.refuse(method, path, 401, "token_unknown", **rest, **asked)


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@case(
    31,
    "A JWT with `alg: none`, a swapped algorithm, edited claims",
    "401 token_unknown",
    about="tokens are random words, and none is read",
)
def signed_tokens(bench: Bench) -> None:
    """Refused: nothing in a token is believed."""
    claims = {"sub": "admin", "role": "admin", "namespace": "default", "exp": 2**40}
    for algorithm in ("none", "HS256", "RS256"):
        for signature in ("", "x" * 43):
            token = f"{_part({'alg': algorithm, 'typ': 'JWT'})}.{_part(claims)}.{signature}"
            bench.refuse("GET", "/api/v1/runs", 401, "token_unknown", token=token)


@case(
    32,
    "The runs, definitions, datasets, logs and outputs of another namespace, by id",
    "404 not_found",
    about="and no list tells of them; every route is tried in the tests of roles and namespaces",
)
def foreign_namespace(bench: Bench) -> None:
    """Answered as if there were nothing."""
    other = bench.tokens["other"]
    run_id = bench.run(write_dag(operator("bad_echo", {"text": "ours"})))
    dag_id = bench.get(f"/api/v1/runs/{run_id}")["dag_id"]
    added = {"uri": str(bench.data / "good.csv"), "id": "ours"}
    assert bench.send("POST", "/api/v1/datasets", json=added).status_code == 201
    run, task = f"/api/v1/runs/{run_id}", f"/api/v1/runs/{run_id}/tasks/a"
    for path in (
        run, f"{run}/tasks", task, f"{task}/attempts/1/log", f"{task}/outputs/0",
        f"{task}/outputs/0/content", f"{task}/outputs/0/preview", f"{run}/events",
        f"/api/v1/dags/{dag_id}", f"/api/v1/dags/{dag_id}/versions/1", "/api/v1/datasets/ours",
    ):  # fmt: skip
        bench.refuse("GET", path, 404, "not_found", token=other)
    for verb in ("cancel", "pause", "resume", "retry"):
        json_body = {"headers": {"Content-Type": JSON}, "data": b"{}"}
        bench.refuse("POST", f"{run}:{verb}", 404, "not_found", token=other, **json_body)
    bench.refuse("DELETE", f"/api/v1/dags/{dag_id}", 404, "not_found", token=other)
    bench.refuse("POST", f"/api/v1/dags/{dag_id}/runs", 404, "not_found", token=other, json={})
    for path in ("/api/v1/runs", "/api/v1/dags", "/api/v1/datasets"):
        assert bench.get(path, token=other)["items"] == [], path


@case(
    33,
    "A viewer who writes, a submitter who administers",
    "403 role_too_small",
    about="every route declares its role; a test asks all of them",
)
def small_roles(bench: Bench) -> None:
    """Refused by the role that the route declares."""
    for method, path, more in (
        ("POST", "/api/v1/runs", _POST),
        ("POST", "/api/v1/dags", _POST),
        ("DELETE", "/api/v1/dags/d1", {}),
        ("POST", "/api/v1/runs/r1:cancel", {}),
        ("POST", "/api/v1/datasets", {"json": {"uri": "/x"}}),
    ):
        bench.refuse(method, path, 403, "role_too_small", token=bench.tokens["viewer"], **more)
    registered = {"json": {}, "token": bench.tokens["submitter"]}
    bench.refuse("POST", "/internal/v1/operator-engines", 403, "role_too_small", **registered)


@case(
    34,
    "A form or plain text of another site's page, a foreign Origin, a foreign Host",
    "415 unsupported_content_type",
    "403 foreign_origin",
    "403 foreign_host",
)
def other_sites(bench: Bench) -> None:
    """Refused: no page of another site can make a browser do anything here."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        sent = {"data": BODY.encode(), "headers": {"Content-Type": kind}}
        bench.refuse("POST", "/api/v1/runs", 415, "unsupported_content_type", **sent)
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": bench.service.url + ".evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        sent = {"data": BODY.encode(), "headers": {"Content-Type": YAML} | headers}
        bench.refuse("POST", "/api/v1/runs", 403, "foreign_origin", **sent)
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:80", "a@127.0.0.1", ""):
        bench.refuse("GET", "/api/v1/runs", 403, "foreign_host", headers={"Host": host})


def _send(bench: Bench, raw: bytes) -> bytes:
    """Send bytes as they are, and read all that comes back."""
    parts = urlsplit(bench.service.url)
    address = parts.hostname or "", parts.port or 0
    with socket.create_connection(address, timeout=30) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(raw)
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := sock.recv(65536):
                data += piece
    return data


def _refuse_bytes(bench: Bench, raw: bytes, status: int, code: str) -> None:
    told = f"{raw[:60]!r} -> {status} {code}"
    before = bench.watch.look()
    head, _, body = _send(bench, raw).partition(b"\r\n\r\n")
    bench.watch.check(before, told)
    assert head.split()[1:2] == [str(status).encode()], (told, head[:200])
    assert json.loads(body)["code"] == code, told
    bench.check_silence(body.decode(), told)
    bench.seen.add(f"{status} {code}")


def _head(bench: Bench, *lines: str) -> bytes:
    return "\r\n".join(
        [
            "POST /api/v1/runs HTTP/1.1",
            "Host: localhost",
            f"Content-Type: {YAML}",
            f"Authorization: Bearer {bench.tokens['admin']}",
            *lines,
            "\r\n",
        ]
    ).encode()


@case(
    35,
    "Content-Length of 100 GB, chunks without end, both, a header of 300 KB, a URI of 20 KB",
    "413 body_too_large",
    "400 bad_request",
    "431 headers_too_large",
    "414 uri_too_long",
)
def malformed_requests(bench: Bench) -> None:
    """Refused by the head, or as soon as the limit is passed."""
    huge = _head(bench, "Content-Length: 107374182400", "Connection: close")
    _refuse_bytes(bench, huge, 413, "body_too_large")
    chunk = b"100000\r\n" + b"#" * 0x100000 + b"\r\n"
    before = bench.watch.look()
    answer = _send(bench, _head(bench, "Transfer-Encoding: chunked") + chunk * 40)
    bench.watch.check(before, "chunks")
    assert answer.split()[1:2] == [b"413"], answer[:200]
    both = _head(bench, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n"
    _refuse_bytes(bench, both, 400, "bad_request")
    for lines in (("Content-Length: -5",), ("Content-Length: 5", "Content-Length: 6")):
        _refuse_bytes(bench, _head(bench, *lines) + b"hello", 400, "bad_request")
    _refuse_bytes(bench, b"GARBAGE\r\n\r\n", 400, "bad_request")
    _refuse_bytes(bench, _head(bench, "X: " + "y" * 300_000), 431, "headers_too_large")
    long = b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    _refuse_bytes(bench, long, 414, "uri_too_long")


@case(36, "60 connections that send a header or a body byte by byte", about="others are served")
def slow_clients(bench: Bench) -> None:
    """A healthy request is answered within a second meanwhile."""
    parts = urlsplit(bench.service.url)
    slow = []
    try:
        for number in range(60):
            sock = socket.create_connection((parts.hostname or "", parts.port or 0))
            slow.append(sock)
            is_body = number % 2
            head = _head(bench, "Content-Length: 1000")
            sock.sendall(head + b"d" if is_body else head[: 20 + number])
        took = []
        for path in ("/livez", "/api/v1/runs", "/livez"):
            began = time.monotonic()
            assert bench.send("GET", path).status_code == 200
            took.append(time.monotonic() - began)
        assert max(took) < 1.0, took
    finally:
        for sock in slow:
            sock.close()


@case(
    37,
    "Another content type, broken JSON, an unknown method, something after the end",
    "415 unsupported_content_type",
    "400 bad_json",
    "400 json_syntax",
    "405 method_not_allowed",
    "422 bad_body",
)
def wrong_bodies(bench: Bench) -> None:
    """Refused by what is wrong."""
    for kind in ("application/xml", "image/png", "application/json; charset=utf-7,x", ""):
        sent = {"data": b"<dag/>", "headers": {"Content-Type": kind}}
        if kind.startswith(JSON):
            bench.refuse("POST", "/api/v1/runs", 400, "json_syntax", **sent)
        else:
            bench.refuse("POST", "/api/v1/runs", 415, "unsupported_content_type", **sent)
    for data in (b"{", b'{"uri": "x"', b'{"uri": "x"} x', b"\xff", b'{"uri": "\\ud800"}'):
        sent = {"data": data, "headers": {"Content-Type": JSON}}
        bench.refuse("POST", "/api/v1/datasets", 400, "bad_json", **sent)
    for value in ([], 5, None, "x", {"uri": 5}, {"uri": "x", "more": 1}, {}):
        bench.refuse("POST", "/api/v1/datasets", 422, "bad_body", data=json.dumps(value),
                     headers={"Content-Type": JSON})  # fmt: skip
    for method in ("PATCH", "PUT", "DELETE", "PROPFIND", "TRACE"):
        bench.refuse(method, "/api/v1/runs", 405, "method_not_allowed")


@case(
    38,
    "1,000 starts at once by one namespace",
    "429 too_many_starts",
    about="with Retry-After; others are served, and reading and cancelling are never limited; "
    "`429 too_many_open_runs` in tests/integration/api/test_starts.py",
)
def flood(bench: Bench) -> None:
    """Refused beyond the limit, cheaply."""
    token = bench.tokens["flood"]
    answers: list[requests.Response] = []
    text = write_dag(operator("bad_echo")).encode()

    def post(n_requests: int) -> None:
        with requests.Session() as session:
            for _ in range(n_requests):
                reply = session.post(
                    f"{bench.service.url}/api/v1/runs",
                    data=text,
                    headers={"Authorization": f"Bearer {token}", "Content-Type": JSON},
                    timeout=60,
                )
                answers.append(reply)

    threads = [threading.Thread(target=post, args=(250,)) for _ in range(4)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    assert bench.send("GET", "/healthz").status_code == 200
    assert bench.start(text.decode())["state"] == "pending"
    assert bench.send("GET", "/api/v1/runs", token=token).status_code == 200
    for thread in threads:
        thread.join()
    counts = Counter(reply.status_code for reply in answers)
    allowed = bench.starts_per_s * (10 + time.monotonic() - began) + 2
    assert counts.keys() == {202, 429}, counts
    assert counts[202] <= allowed, (counts, allowed)
    refused = next(reply for reply in answers if reply.status_code == 429)
    assert int(refused.headers["Retry-After"]) >= 1
    bench.check_problem(refused, "flood")
    bench.seen.add(f"429 {refused.json()['code']}")
    run_id = next(reply.json()["id"] for reply in answers if reply.status_code == 202)
    cancelled = bench.send("POST", f"/api/v1/runs/{run_id}:cancel", token=token)
    assert cancelled.status_code in (202, 409), cancelled.text
    bench.settle()


STEERING = "\x1b[31mred\x1b[0m\x1b]0;title\x07\rover\n<script>alert(1)</script>\u202etxt"


@case(
    39,
    "CR LF in names and paths, ANSI escapes and `<script>` in an operator's output and error",
    "422 bad_character",
    "404 not_found",
    about="escaped in the services' logs, in headers and by the command line; pages run no script "
    "of another and set text as text",
)
def steering_text(bench: Bench) -> None:
    """Kept as it is where it is data, and made harmless wherever it is shown."""
    named = write_dag(operator("bad_echo", cn_name="a\r\nb"))
    bench.refuse_dag(named, 422, "bad_character", media_type=JSON)
    for path in ("runs/a%0d%0aSet-Cookie:x", "runs/%1b[31m", "%1b[31m"):
        _refuse_as_it_stands(bench, f"/api/v1/{path}")
    logs = "".join(
        log.read_text(encoding="utf-8") for log in bench.service.home.glob("logs/services/*.log")
    )
    assert all(escaped in logs for escaped in (r"\r\nSet-Cookie:x", r"\x1b[31m"))
    assert "\x1b" not in logs
    assert "\nSet-Cookie" not in logs
    spoken = {"text": STEERING, "fails": True}
    task = bench.fail_run(write_dag(operator("bad_speak", spoken)), "error")
    bench.seen.discard("run error")
    shown = bench.get(f"/api/v1/runs/{task['run']}/tasks/a/attempts/1/log")["text"]
    assert STEERING in shown
    for command in (("logs",), ("runs", "why")):
        said = dagengine(
            *command, task["run"], "a", "--token", bench.tokens["admin"], url=bench.service.url
        )
        assert "red" in said.stdout, (said.stdout, said.stderr)
        assert not set("\x1b\x07\r\u202e") & set(said.stdout)
    for path in ("/", f"/runs/{task['run']}"):
        policy = bench.send("GET", path).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
    for script in (ROOT / "web" / "static").glob("*.js"):
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way not in script.read_text(encoding="utf-8"), script.name


def _refuse_as_it_stands(bench: Bench, path: str) -> None:
    before = bench.watch.look()
    reply = bench.send_raw(path)
    bench.watch.check(before, path)
    assert reply.status == 404
    assert reply.getheader("Set-Cookie") is None
    bench.seen.add("404 not_found")
