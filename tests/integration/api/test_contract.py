"""The table of calls, the routes and the OpenAPI document say the same."""

import re
from typing import Any

import pytest

from dag_engine.api.app import all_calls
from dag_engine.api.openapi import TAGS
from tests.support.api_rig import ApiRig

DESIGNED = [
    "POST /api/v1/dags:validate",
    "POST /api/v1/dags",
    "GET /api/v1/dags",
    "GET /api/v1/dags/{dag_id}",
    "PUT /api/v1/dags/{dag_id}",
    "DELETE /api/v1/dags/{dag_id}",
    "GET /api/v1/connections",
    "POST /api/v1/connections",
    "GET /api/v1/connections/{name}",
    "DELETE /api/v1/connections/{name}",
    "GET /api/v1/secrets",
    "POST /api/v1/secrets",
    "GET /api/v1/secrets/{name}",
    "DELETE /api/v1/secrets/{name}",
    "GET /api/v1/dags/{dag_id}/versions",
    "GET /api/v1/dags/{dag_id}/versions/{version}",
    "POST /api/v1/dags/{dag_id}/runs",
    "POST /api/v1/runs",
    "POST /api/v1/runs/{run_id}:cancel",
    "POST /api/v1/runs/{run_id}:pause",
    "POST /api/v1/runs/{run_id}:resume",
    "POST /api/v1/runs/{run_id}:retry",
    "POST /api/v1/runs/{run_id}/tasks/{operator}:cancel",
    "GET /api/v1/runs",
    "GET /api/v1/runs/{run_id}",
    "GET /api/v1/runs/{run_id}/tasks",
    "GET /api/v1/runs/{run_id}/tasks/{operator}",
    "GET /api/v1/runs/{run_id}/tasks/{operator}/attempts/{attempt}/log",
    "GET /api/v1/runs/{run_id}/tasks/{operator}/cache",
    "GET /api/v1/runs/{run_id}/tasks/{operator}/outputs/{port}",
    "GET /api/v1/runs/{run_id}/tasks/{operator}/outputs/{port}/preview",
    "GET /api/v1/runs/{run_id}/tasks/{operator}/outputs/{port}/content",
    "GET /api/v1/runs/{run_id}/events",
    "GET /api/v1/algorithms",
    "GET /api/v1/algorithms/{name}",
    "GET /api/v1/executors",
    "GET /api/v1/operator-engines",
    "POST /api/v1/datasets",
    "GET /api/v1/datasets",
    "GET /api/v1/datasets/{dataset_id}",
    "GET /api/v1/datasets/{dataset_id}/preview",
    "GET /api/v1/caller",
    "GET /api/v1/openapi.json",
    "POST /internal/v1/reports",
    "POST /internal/v1/operator-engines",
    "POST /internal/v1/operator-engines/{engine_id}/heartbeat",
    "DELETE /internal/v1/operator-engines/{engine_id}",
    "GET /internal/v1/settings",
    "GET /livez",
    "GET /readyz",
    "GET /healthz",
    "GET /version",
    "GET /metrics",
    "GET /",
    "GET /docs",
    "GET /runs/{run_id}",
    "GET /static/{name}",
]


def routes(rig: ApiRig) -> set[str]:
    found = set()
    for rule in rig.app.url_map.iter_rules():
        path = re.sub(r"<(?:[a-z]+:)?([a-z_]+)>", r"{\1}", rule.rule)
        found |= {f"{method} {path}" for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    return found


def documented(rig: ApiRig) -> set[str]:
    document = rig.client.get("/api/v1/openapi.json").get_json()
    return {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method in operations
    }


def test_every_route_is_designed_declared_and_documented(rig: ApiRig) -> None:
    designed = set(DESIGNED)

    assert routes(rig) == designed
    assert documented(rig) == designed
    assert len(all_calls()) == len(designed)


def test_every_call_says_what_it_does_and_answers() -> None:
    for call in all_calls():
        assert call.summary, call
        assert call.answers, call
        assert min(call.answers) < 300, call


def walk(value: Any) -> Any:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from walk(item)


def test_every_reference_of_the_document_leads_somewhere(rig: ApiRig) -> None:
    document = rig.client.get("/api/v1/openapi.json").get_json()

    for node in walk(document):
        reference = node.get("$ref")
        if isinstance(reference, str):
            assert reference.startswith("#/components/")
            _, _, kind, name = reference.split("/")
            assert name in document["components"][kind]
    assert document["openapi"] == "3.1.0"


def test_no_pattern_of_the_document_means_something_else_to_its_readers(rig: ApiRig) -> None:
    r"""In JSON Schema `\w` is ASCII, in Python letters of every script, which are taken."""
    document = rig.client.get("/api/v1/openapi.json").get_json()
    patterns = [part["pattern"] for part in walk(document) if "pattern" in part]
    assert [pattern for pattern in patterns if "\\w" in pattern] == []


def test_operation_ids_are_unique() -> None:
    names = [call.name for call in all_calls()]

    assert len(names) == len(set(names))


def properties(rig: ApiRig, name: str) -> set[str]:
    document = rig.client.get("/api/v1/openapi.json").get_json()
    return set(document["components"]["schemas"][name]["properties"])


def test_schemas_name_what_the_answers_hold(rig: ApiRig) -> None:
    run_id = rig.start("a", "b<a", name="流程")
    rig.play(run_id, "running", a="succeeded", b="running")
    get = rig.client.get
    run = get(f"/api/v1/runs/{run_id}").get_json()
    task = get(f"/api/v1/runs/{run_id}/tasks/a").get_json()
    dag = get(f"/api/v1/dags/{run['dag_id']}").get_json()
    event = get(f"/api/v1/runs/{run_id}/events").get_json()["items"][0]

    assert set(run) == properties(rig, "Run")
    assert set(task) == properties(rig, "Task")
    assert set(task["attempts"][0]) == properties(rig, "Attempt")
    assert set(task["outputs"][0]) == properties(rig, "Output")
    assert set(event) == properties(rig, "Event")
    assert set(dag) == properties(rig, "Dag")


@pytest.mark.parametrize(
    "path",
    [path.partition(" ")[2] for path in DESIGNED if path.startswith("GET /api/v1/")],
)
def test_every_reading_call_answers_a_problem_for_what_is_not_there(rig: ApiRig, path: str) -> None:
    reply = rig.client.get(re.sub(r"\{(version|attempt|port)\}", "7", path).replace("{", "")
                           .replace("}", ""))  # fmt: skip

    if "{" in path:
        assert reply.status_code == 404
        assert reply.content_type == "application/problem+json"
        assert reply.get_json()["errors"] == []
    else:
        assert reply.status_code == 200


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_refused(rig: ApiRig, verb: str) -> None:
    reply = rig.client.open("/api/v1/algorithms", method=verb)

    assert (reply.status_code, reply.get_json()["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    "path",
    ["dags/d1/versions", "runs/r1/tasks/a/outputs", "runs/r1/tasks/a/attempts"],
)
@pytest.mark.parametrize("number", ["9" * 20, "-1", "1.0", "x", "%00"])
def test_number_in_a_path_that_is_none_is_not_found(rig: ApiRig, path: str, number: str) -> None:
    for rest in ("", "/log", "/content", "/preview"):
        assert rig.client.get(f"/api/v1/{path}/{number}{rest}").status_code == 404


def test_document_tells_the_role_of_every_call(rig: ApiRig) -> None:
    document = rig.client.get("/api/v1/openapi.json").get_json()

    for call in all_calls():
        operation = document["paths"][re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", call.rule)][
            call.method.lower()
        ]
        assert operation.get("x-role", "anybody") == call.role.word
        is_open = call.role.word == "anybody"
        assert (operation.get("security") == []) == is_open
        assert ({"401", "403"} <= set(operation["responses"])) != is_open
    assert document["security"] == [{"token": []}, {}], "no token was ever made"


def test_the_document_orders_every_resource() -> None:
    assert {call.tag for call in all_calls()} == set(TAGS)
