from typing import Any

import pytest
from flask import Flask, Response

from dag_engine.api import calls
from dag_engine.api.answers import json_answer
from dag_engine.api.calls import YAML_TYPES, Answer, Body, Resource
from dag_engine.api.problems import install_error_handlers
from dag_engine.core.access import Role

QUERY = (
    *calls.PAGE,
    calls.choice("state", "A state.", ("running", "failed")),
    calls.flag("dry_run", "Only tell."),
    calls.words("operators", "Operators."),
    calls.json_text("params", "Parameters."),
    calls.number("wait_s", "Seconds.", default=0, most=60),
)


@pytest.fixture
def client() -> Any:
    resource = Resource("things", "Things")

    @resource.call("GET", "/things", {200: Answer("All.")}, query=QUERY, role=Role.VIEWER)
    def list_things(query: dict[str, Any]) -> Response:
        """List things."""
        return json_answer(query)

    @resource.call(
        "POST", "/things", {200: Answer("One.")}, body=Body(YAML_TYPES), role=Role.VIEWER
    )
    def add_thing(query: dict[str, Any]) -> Response:
        """Add a thing."""
        return json_answer(query)

    @resource.call("POST", "/things:stop", {200: Answer("Done.")}, role=Role.VIEWER)
    def stop_things(query: dict[str, Any]) -> Response:
        """Stop things."""
        return json_answer(query)

    app = Flask(__name__, static_folder=None)
    install_error_handlers(app)
    app.register_blueprint(resource.blueprint)
    return app.test_client()


def test_absent_parameters_take_their_defaults(client: Any) -> None:
    assert client.get("/api/v1/things").get_json() == {
        "limit": 100,
        "cursor": None,
        "state": None,
        "dry_run": False,
        "operators": [],
        "params": {},
        "wait_s": 0,
    }


def test_given_parameters_are_read_by_their_type(client: Any) -> None:
    reply = client.get(
        "/api/v1/things?limit=7&state=failed&dry_run=true&operators=读,b&operators=c"
        '&params={"读":{"n":1}}&wait_s=1.5'
    )

    value = reply.get_json()
    assert value["limit"] == 7
    assert value["state"] == "failed"
    assert value["dry_run"] is True
    assert value["operators"] == ["读", "b", "c"]
    assert value["params"] == {"读": {"n": 1}}
    assert value["wait_s"] == 1.5


def test_a_list_without_words_is_no_list(client: Any) -> None:
    assert client.get("/api/v1/things?operators=").get_json()["operators"] == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=1001", "limit=ten", "limit=", "limit=1&limit=2", "state=nope",
        "dry_run=maybe", "params=[1]", "params={", "params=" + "[" * 2000, "wait_s=nan",
        "wait_s=-1", "cursor=%00", "limit=1_0", "limit=" + "9" * 5000, "state=,", "state=failed,",
        "operators=,", "operators=a,,b", "operators=a&operators=b,",
    ],
)  # fmt: skip
def test_parameter_that_does_not_fit_is_refused_by_name(client: Any, query: str) -> None:
    reply = client.get(f"/api/v1/things?{query}")

    assert (reply.status_code, reply.get_json()["code"]) == (400, "bad_parameter")
    assert query.partition("=")[0] in reply.get_json()["detail"]


def test_unknown_parameter_is_refused_with_the_nearest(client: Any) -> None:
    problem = client.get("/api/v1/things?limt=3").get_json()

    assert problem["code"] == "unknown_parameter"
    assert problem["hint"] == "Did you mean limit?"


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("path", ["/api/v1/things", "/api/v1/things:stop"])
def test_types_that_a_foreign_page_can_send_are_refused(
    client: Any, path: str, media_type: str
) -> None:
    reply = client.post(path, data=b"dag: 1", content_type=media_type)

    assert (reply.status_code, reply.get_json()["code"]) == (415, "unsupported_content_type")


def test_body_without_a_type_is_refused_where_one_is_needed(client: Any) -> None:
    assert client.post("/api/v1/things", data=b"dag: 1").status_code == 415
    assert client.post("/api/v1/things:stop").status_code == 200


def test_type_may_carry_a_charset(client: Any) -> None:
    reply = client.post(
        "/api/v1/things", data=b"a: 1", content_type="application/yaml; charset=utf-8"
    )

    assert reply.status_code == 200


def test_wrong_method_and_unknown_address_are_problems(client: Any) -> None:
    wrong, unknown = client.delete("/api/v1/things"), client.get("/api/v1/nothing")

    assert (wrong.status_code, wrong.get_json()["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["Allow"]
    assert (unknown.status_code, unknown.get_json()["code"]) == (404, "not_found")
    assert unknown.content_type == "application/problem+json"


def test_fault_of_ours_shows_no_stack_trace(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Response:
        raise ZeroDivisionError("secret detail")

    client.application.add_url_rule("/fail", "fail", fail)
    reply = client.get("/fail")

    assert (reply.status_code, reply.get_json()["code"]) == (500, "internal")
    assert "secret" not in reply.get_data(as_text=True)
    assert "secret detail" in caplog.text
