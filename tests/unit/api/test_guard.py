import hashlib

import pytest
from flask import Flask

from dag_engine.api.answers import json_answer
from dag_engine.api.errors import UnauthorizedError
from dag_engine.api.guard import Guard, HostList, TokenCheck, host_name, is_loopback
from dag_engine.api.problems import install_error_handlers
from dag_engine.storage.errors import DatabaseUnavailableError


def make_app(
    *,
    host: str = "127.0.0.1",
    allowed: tuple[str, ...] = (),
    tokens: tuple[str, ...] = (),
    is_required: bool = False,
) -> Flask:
    app = Flask(__name__, static_folder=None)
    digests = frozenset(hashlib.sha256(token.encode()).hexdigest() for token in tokens)
    check = TokenCheck(lambda: digests, is_required=is_required)
    Guard(HostList(host, allowed), check, lambda: "installation secret").install(app)
    install_error_handlers(app)
    for rule in ("/thing", "/livez", "/internal/v1/reports"):
        app.add_url_rule(rule, rule, lambda: json_answer({"ok": True}), methods=["GET", "POST"])
    return app


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("127.0.0.1:8080", "127.0.0.1"),
        ("LocalHost", "localhost"),
        ("localhost.:80", "localhost"),
        ("[::1]:8080", "::1"),
        ("user@evil", "evil"),
        ("[::1", ""),
        ("", ""),
    ],
)
def test_host_name_is_taken_out_of_an_authority(authority: str, name: str) -> None:
    assert host_name(authority) == name


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("10.0.0.1", False), ("::", False), ("example.org", False)],
)  # fmt: skip
def test_loopback_addresses_are_known(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:1", "engine.example"])
def test_own_names_are_let_in(host: str) -> None:
    client = make_app(allowed=("engine.example",)).test_client()

    assert client.get("/thing", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "10.0.0.7", "127.0.0.1.evil.example", ""])
def test_foreign_host_is_refused(host: str) -> None:
    reply = make_app().test_client().get("/thing", headers={"Host": host})

    assert (reply.status_code, reply.get_json()["code"]) == (403, "foreign_host")


def test_any_address_but_no_foreign_name_is_let_in_beyond_loopback() -> None:
    client = make_app(host="0.0.0.0", tokens=("t",)).test_client()
    token = {"Authorization": "Bearer t"}

    assert client.get("/thing", headers={"Host": "10.0.0.7:80", **token}).status_code == 200
    assert client.get("/thing", headers={"Host": "evil.example", **token}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_post_from_a_page_of_another_site_is_refused(headers: dict[str, str]) -> None:
    reply = make_app().test_client().post("/thing", headers=headers)

    assert (reply.status_code, reply.get_json()["code"]) == (403, "foreign_origin")


def test_post_from_our_own_page_is_let_in() -> None:
    headers = {"Origin": "http://localhost:8080", "Host": "localhost:8080"}

    assert make_app().test_client().post("/thing", headers=headers).status_code == 200


def test_without_tokens_loopback_is_open() -> None:
    assert make_app().test_client().get("/thing").status_code == 200


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Basic right", "right", "Bearer r\udcffght"],
)
def test_request_without_a_known_token_is_refused(authorization: str) -> None:
    reply = (
        make_app(tokens=("right",))
        .test_client()
        .get(
            "/thing?token=right",
            headers={"Authorization": authorization.encode("latin-1", "replace")},
        )
    )

    assert reply.status_code == 401
    assert reply.content_type == "application/problem+json"
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


def test_known_token_is_let_in() -> None:
    client = make_app(tokens=("other", "right")).test_client()

    assert client.get("/thing", headers={"Authorization": "Bearer right"}).status_code == 200
    assert client.get("/thing", headers={"Authorization": "bearer right"}).status_code == 200


def test_where_tokens_are_required_none_means_closed() -> None:
    assert make_app(is_required=True).test_client().get("/thing").status_code == 401


def test_signs_of_life_need_no_token() -> None:
    assert make_app(tokens=("right",)).test_client().get("/livez").status_code == 200


def test_installation_secret_opens_internal_calls_alone() -> None:
    client = make_app(tokens=("right",)).test_client()
    secret = {"x-dagengine-secret": "installation secret"}

    assert client.post("/internal/v1/reports", headers=secret).status_code == 200
    assert client.post("/thing", headers=secret).status_code == 401
    wrong = {"x-dagengine-secret": "another"}
    assert client.post("/internal/v1/reports", headers=wrong).status_code == 401


def test_every_answer_bears_the_request_id_and_safety_headers() -> None:
    client = make_app().test_client()

    reply = client.get("/nowhere", headers={"X-Request-Id": "mine-1"})

    assert reply.headers["X-Request-Id"] == "mine-1" == reply.get_json()["request_id"]
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]


def test_odd_request_id_is_replaced() -> None:
    reply = make_app().test_client().get("/thing", headers={"X-Request-Id": "a b<script>"})

    assert "script" not in reply.headers["X-Request-Id"]
    assert len(reply.headers["X-Request-Id"]) == 16


def test_revoked_token_is_forgotten_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = {hashlib.sha256(b"right").hexdigest()}
    check = TokenCheck(lambda: frozenset(digests), is_required=True)
    check.check("Bearer right")
    digests.clear()
    later = TokenCheck.__module__ + ".time.monotonic"
    monkeypatch.setattr(later, lambda: 1e12)

    with pytest.raises(Exception, match="token"):
        check.check("Bearer right")


def test_known_tokens_hold_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    digests: list[frozenset[str]] = [frozenset({hashlib.sha256(b"right").hexdigest()})]

    def load() -> frozenset[str]:
        if not digests:
            raise DatabaseUnavailableError("gone")
        return digests.pop()

    check = TokenCheck(load, is_required=True)
    check.check("Bearer right")
    monkeypatch.setattr("dag_engine.api.guard.time.monotonic", lambda: 1e12)

    check.check("Bearer right")
    with pytest.raises(UnauthorizedError):
        check.check("Bearer wrong")


def test_tokens_that_were_never_read_let_nobody_in() -> None:
    def load() -> frozenset[str]:
        raise DatabaseUnavailableError("gone")

    with pytest.raises(DatabaseUnavailableError):
        TokenCheck(load, is_required=False).check("Bearer right")
