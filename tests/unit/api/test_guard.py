from typing import Any

import pytest
from flask import Flask

from dag_engine.api.access import caller
from dag_engine.api.answers import json_answer
from dag_engine.api.guard import Guard, HostList, host_name
from dag_engine.api.problems import install_error_handlers
from dag_engine.core.access import Role
from dag_engine.storage.token_book import TokenBook
from tests.support.tokens import make_tokens

ROLES = {"/thing": Role.SUBMITTER, "/livez": Role.ANYBODY, "/internal/v1/reports": Role.OPERATOR}


def make_app(
    *,
    host: str = "127.0.0.1",
    allowed: tuple[str, ...] = (),
    tokens: tuple[str, ...] = (),
    is_required: bool = False,
    **fields: Any,
) -> Flask:
    app = Flask(__name__, static_folder=None)
    made = make_tokens(*tokens, **fields)
    book = TokenBook(lambda _: made, is_required=is_required)
    Guard(HostList(host, allowed), book, lambda: "installation secret", ROLES).install(app)
    install_error_handlers(app)

    def answer() -> Any:
        who = caller()
        return json_answer({"name": who.name, "namespace": who.namespace, "role": who.role.word})

    for rule in ("/thing", "/internal/v1/reports", "/undeclared"):
        app.add_url_rule(rule, rule, answer, methods=["GET", "POST"])
    app.add_url_rule("/livez", "/livez", lambda: json_answer({"status": "alive"}))
    return app


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("127.0.0.1:8080", "127.0.0.1"),
        ("LocalHost", "localhost"),
        ("localhost.:80", "localhost"),
        ("[::1]:8080", "::1"),
        ("user@evil", ""),
        ("[::1", ""),
        ("", ""),
    ],
)
def test_host_name_is_taken_out_of_an_authority(authority: str, name: str) -> None:
    assert host_name(authority) == name


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
        {"Origin": "http://["},
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


def test_role_that_is_too_small_is_refused_by_name() -> None:
    client = make_app(tokens=("t",), role="viewer").test_client()

    reply = client.get("/thing", headers={"Authorization": "Bearer t"})

    problem = reply.get_json()
    assert (reply.status_code, problem["code"]) == (403, "role_too_small")
    assert "role submitter" in problem["detail"]
    assert "viewer" in problem["detail"]


def test_route_without_a_declared_role_is_never_reached() -> None:
    client = make_app(tokens=("t",), role="admin").test_client()

    assert client.get("/undeclared", headers={"Authorization": "Bearer t"}).status_code == 500


def test_strangers_do_not_learn_which_addresses_there_are() -> None:
    client = make_app(tokens=("t",), role="viewer").test_client()

    assert client.get("/nowhere").status_code == 401
    assert client.delete("/thing").status_code == 401
    assert client.get("/nowhere", headers={"Authorization": "Bearer t"}).status_code == 404


def test_without_tokens_the_caller_is_an_admin_of_the_default_namespace() -> None:
    who = make_app().test_client().get("/thing").get_json()

    assert who == {"name": "", "namespace": "default", "role": "admin"}


@pytest.mark.parametrize(
    ("role", "header", "expected"),
    [
        ("admin", "team-c", 200), ("operator", "team-c", 403), ("submitter", "team-b", 200),
        ("admin", "system", 400), ("admin", "Größe", 400), ("admin", "a/b", 400),
        ("admin", "", 400), ("admin", "x" * 64, 400), ("viewer", "team-c", 403),
    ],
)  # fmt: skip
def test_only_an_admin_acts_in_a_namespace_that_is_not_its_own(
    role: str, header: str, expected: int
) -> None:
    client = make_app(tokens=("t",), role=role, namespace="team-b").test_client()
    headers = {"Authorization": "Bearer t", "X-Dagengine-Namespace": header.encode().decode("l1")}

    reply = client.get("/thing", headers=headers)

    assert reply.status_code == expected
    if expected == 200:
        assert reply.get_json()["namespace"] == header
