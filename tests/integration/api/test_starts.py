import threading
from collections.abc import Callable
from typing import Any

import pytest

from dag_engine.api.flood import FloodGate
from dag_engine.storage import runs as stored_runs
from dag_engine.storage.errors import DatabaseUnavailableError
from tests.support.api_rig import YAML, ApiRig, write_dag
from tests.support.example_catalogue import make_offer


def test_posted_file_is_stored_and_its_run_accepted(rig_everywhere: ApiRig) -> None:
    rig = rig_everywhere

    reply = rig.client.post(
        "/api/v1/runs?priority=7", data=write_dag("读", "b<读", name="流程"), content_type=YAML
    )

    run = reply.get_json()
    assert reply.status_code == 202
    assert reply.headers["Location"] == f"/api/v1/runs/{run['id']}"
    assert (run["state"], run["tasks"], run["n_tasks"]) == ("pending", {"pending": 2}, 2)
    assert (run["dag_name"], run["dag_version"], run["priority"]) == ("流程", 1, 7)
    assert run["created_at"].endswith("Z")
    assert rig.client.get(reply.headers["Location"]).get_json() == run
    assert rig.store.find_new_run_ids() == [run["id"]]


def test_stored_definition_is_started_with_options_in_the_body(rig: ApiRig) -> None:
    dag_id = rig.client.post(
        "/api/v1/dags", data=write_dag("a", "b<a", "c<b"), content_type=YAML
    ).get_json()["id"]

    reply = rig.client.post(
        f"/api/v1/dags/{dag_id}/runs", json={"range": "to", "operators": ["b"], "priority": -3}
    )

    run = reply.get_json()
    assert reply.status_code == 202
    assert (run["range"], run["operators"], run["n_tasks"]) == ("to", ["b"], 2)
    assert rig.client.post(f"/api/v1/dags/{dag_id}/runs").status_code == 202


def test_dry_run_answers_the_plan_and_stores_nothing(rig: ApiRig) -> None:
    reply = rig.client.post(
        "/api/v1/runs?dry_run=true", data=write_dag("a", "b<a", "c<a"), content_type=YAML
    )

    plan = reply.get_json()
    assert reply.status_code == 200
    assert plan["order"] == ["a", "b", "c"]
    assert [task["upstream"] for task in plan["tasks"]] == [[], ["a"], ["a"]]
    assert plan["reused"] == []
    assert rig.client.get("/api/v1/runs").get_json()["items"] == []
    assert rig.client.get("/api/v1/dags").get_json()["items"] == []


def test_range_uses_what_a_former_run_left_and_says_from_where(rig: ApiRig) -> None:
    text = write_dag("a", "b<a", name="x")
    former = rig.client.post("/api/v1/runs", data=text, content_type=YAML).get_json()["id"]
    rig.play(former, "succeeded", a="succeeded", b="succeeded")

    dry = rig.client.post(
        "/api/v1/runs?range=only&operators=b&dry_run=true", data=text, content_type=YAML
    ).get_json()
    run = rig.client.post("/api/v1/runs?range=only&operators=b", data=text, content_type=YAML)

    assert dry["order"] == ["b"]
    assert [(one["operator"], one["run_id"]) for one in dry["reused"]] == [("a", former)]
    assert dry["reused"][0]["outputs"][0]["rows"] == 3
    plan = stored_runs.load_plan(rig.database, "default", run.get_json()["id"])
    artifact = plan.tasks[0].inputs[0][0].artifact
    assert artifact is not None
    assert f"/runs/{former}/" in artifact.uri


def test_range_that_lacks_a_former_result_names_the_operator(rig: ApiRig) -> None:
    reply = rig.client.post(
        "/api/v1/runs?range=only&operators=b", data=write_dag("a", "b<a"), content_type=YAML
    )

    problem = reply.get_json()
    assert (reply.status_code, problem["code"]) == (409, "missing_artifacts")
    assert problem["errors"][0]["operator"] == "a"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?range=from", "missing_operators"),
        ("?range=from&operators=nope", "unknown_operator"),
        ("?operators=a", "unexpected_operators"),
        ('?params={"a":{"x":1}}', "unknown_parameter"),
        ('?params={"nope":{}}', "unknown_operator"),
        ('?params={"a":1}', "bad_params"),
        ("?range=failed", "base_run_missing"),
    ],
)
def test_options_that_do_not_fit_are_refused(rig: ApiRig, query: str, code: str) -> None:
    reply = rig.client.post(f"/api/v1/runs{query}", data=write_dag("a"), content_type=YAML)

    assert reply.status_code == 422
    problem = reply.get_json()
    assert code in {problem["code"], *(one["code"] for one in problem["errors"])}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"range": "nope"}, "/range"),
        ({"operators": "a"}, "/operators"),
        ({"priority": 101}, "/priority"),
        ({"dry_run": "true"}, "/dry_run"),
        ({"params": {"a": 1}}, "/params/..."),
        ({"unknown": 1}, ""),
    ],
)
def test_body_that_does_not_fit_is_refused_by_place(
    rig: ApiRig, body: dict[str, object], pointer: str
) -> None:
    dag_id = rig.client.post("/api/v1/dags", data=write_dag("a"), content_type=YAML).get_json()[
        "id"
    ]

    reply = rig.client.post(f"/api/v1/dags/{dag_id}/runs", json=body)

    assert (reply.status_code, reply.get_json()["code"]) == (422, "bad_body")
    assert reply.get_json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("data", [b"{", b"[" * 100_000, b"\xff", b'{"a": NaN}', b'"\\ud800"'])
def test_body_that_is_no_json_is_refused(rig: ApiRig, data: bytes) -> None:
    reply = rig.client.post("/api/v1/dags/dnone/runs", data=data, content_type="application/json")

    assert reply.status_code in (400, 422)


def test_overridden_parameters_reach_the_task(rig: ApiRig) -> None:
    schema = {"type": "object", "properties": {"列": {"type": "integer"}}}
    rig.register(make_offer("counted", params_schema=schema))

    run_id = rig.start("a", algorithm="counted", query='?params={"a":{"列":5}}')

    assert stored_runs.load_plan(rig.database, "default", run_id).tasks[0].params == {"列": 5}


def test_same_key_makes_one_run(rig_everywhere: ApiRig) -> None:
    rig = rig_everywhere
    text, key = write_dag("a"), {"Idempotency-Key": "k-1"}

    first = rig.client.post("/api/v1/runs", data=text, content_type=YAML, headers=key)
    again = rig.client.post("/api/v1/runs", data=text, content_type=YAML, headers=key)
    other = rig.client.post("/api/v1/runs", data=text, content_type=YAML)

    assert again.status_code == 202
    assert again.get_json()["id"] == first.get_json()["id"] != other.get_json()["id"]
    assert again.headers["Location"] == first.headers["Location"]


def test_key_with_another_request_is_refused(rig: ApiRig) -> None:
    key = {"Idempotency-Key": "k-1"}
    rig.client.post("/api/v1/runs", data=write_dag("a"), content_type=YAML, headers=key)

    body = rig.client.post("/api/v1/runs", data=write_dag("b"), content_type=YAML, headers=key)
    query = rig.client.post(
        "/api/v1/runs?priority=1", data=write_dag("a"), content_type=YAML, headers=key
    )

    for reply in (body, query):
        assert (reply.status_code, reply.get_json()["code"]) == (422, "idempotency_conflict")


@pytest.mark.parametrize("key", ["", "a b", "x" * 151, "schlüssel"])
def test_odd_key_is_refused(rig: ApiRig, key: str) -> None:
    reply = rig.client.post(
        "/api/v1/runs",
        data=write_dag("a"),
        content_type=YAML,
        headers={"Idempotency-Key": key.encode().decode("latin-1")},
    )

    assert (reply.status_code, reply.get_json()["code"]) == (400, "bad_idempotency_key")


def test_same_key_from_many_threads_at_once_makes_one_run(rig: ApiRig) -> None:
    found: list[tuple[int, str]] = []

    def post() -> None:
        reply = rig.app.test_client().post(
            "/api/v1/runs",
            data=write_dag("a"),
            content_type=YAML,
            headers={"Idempotency-Key": "together"},
        )
        found.append((reply.status_code, reply.get_json().get("id")))

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(found)) == 1
    assert found[0][0] == 202
    assert len(rig.store.find_new_run_ids()) == 1


def test_retry_runs_what_failed_with_the_same_seeds_and_versions(rig_everywhere: ApiRig) -> None:
    rig = rig_everywhere
    former = rig.start("a", "b<a", "c<b", name="流程")
    rig.play(former, "failed", a="succeeded", b="failed", c="upstream_failed")

    reply = rig.client.post(f"/api/v1/runs/{former}:retry")

    run = reply.get_json()
    assert reply.status_code == 202
    assert run["id"] != former
    assert (run["range"], run["base_run"], run["n_tasks"]) == ("failed", former, 2)
    old = stored_runs.load_plan(rig.database, "default", former)
    new = stored_runs.load_plan(rig.database, "default", run["id"])
    assert [task.operator for task in new.tasks] == ["b", "c"]
    assert [task.seed for task in new.tasks] == [task.seed for task in old.tasks[1:]]
    assert new.reused[0].run_id == former


def test_repeated_retry_answers_the_same_run_and_a_new_key_makes_another(rig: ApiRig) -> None:
    former = rig.start("a")
    rig.play(former, "failed", a="failed")
    path = f"/api/v1/runs/{former}:retry"

    first, again = rig.client.post(path), rig.client.post(path)
    other = rig.client.post(path, headers={"Idempotency-Key": "anew"})

    assert first.get_json()["id"] == again.get_json()["id"] != other.get_json()["id"]


def test_retry_of_a_retry_stands_on_the_first_run_even_if_a_newer_one_has_equal_prints(
    rig: ApiRig,
) -> None:
    first = rig.start("a", "b<a", "c<b")
    rig.play(first, "failed", a="succeeded", b="failed", c="upstream_failed")
    stranger = rig.start("a", "b<a", "c<b")
    rig.play(stranger, "failed", a="succeeded", b="failed", c="upstream_failed")
    second = rig.client.post(f"/api/v1/runs/{first}:retry").get_json()["id"]
    rig.play(second, "failed", b="failed", c="upstream_failed")

    third = rig.client.post(f"/api/v1/runs/{second}:retry").get_json()["id"]

    plan = stored_runs.load_plan(rig.database, "default", third)
    assert [(one.operator, one.run_id) for one in plan.reused] == [("a", first)]


@pytest.mark.parametrize("state", ["running", "succeeded"])
def test_retry_of_what_did_not_fail_is_refused_naming_the_state(rig: ApiRig, state: str) -> None:
    run_id = rig.start("a")
    rig.play(run_id, state, a=state)

    reply = rig.client.post(f"/api/v1/runs/{run_id}:retry")

    assert (reply.status_code, reply.get_json()["code"]) == (409, "impossible")
    assert state in reply.get_json()["detail"]


def test_catalogue_that_changes_is_seen_by_the_next_post(rig: ApiRig) -> None:
    text = write_dag("a", algorithm="brand_new")
    before = rig.client.post("/api/v1/runs", data=text, content_type=YAML)
    rig.register(make_offer("brand_new"))

    after = rig.client.post("/api/v1/runs", data=text, content_type=YAML)

    assert (before.status_code, after.status_code) == (422, 202)


def test_run_of_a_former_version_can_be_started(rig: ApiRig) -> None:
    dag_id = rig.client.post(
        "/api/v1/dags", data=write_dag("a", name="x"), content_type=YAML
    ).get_json()["id"]
    rig.client.post("/api/v1/dags", data=write_dag("a", "b<a", name="x"), content_type=YAML)

    reply = rig.client.post(f"/api/v1/dags/{dag_id}/runs", json={"version": 1})

    assert (reply.get_json()["dag_version"], reply.get_json()["n_tasks"]) == (1, 1)
    missing = rig.client.post(f"/api/v1/dags/{dag_id}/runs", json={"version": 9})
    assert missing.status_code == 404


def test_open_runs_are_limited_and_can_be_cancelled(make_rig: Callable[..., ApiRig]) -> None:
    rig = make_rig(server={"max_open_runs": 2})
    rig.register()
    run_id = rig.start("a")
    rig.start("a")

    refused = rig.client.post("/api/v1/runs", data=write_dag("a"), content_type=YAML)
    other = rig.client.post(f"/api/v1/runs/{run_id}:retry", json={})
    cancelled = rig.client.post(f"/api/v1/runs/{run_id}:cancel", json={})

    assert (refused.status_code, refused.get_json()["code"]) == (429, "too_many_open_runs")
    assert refused.headers["Retry-After"] == "5"
    assert other.status_code == 429
    assert cancelled.status_code == 202


def test_what_is_stored_is_answered_though_the_database_does_not_tell_who_leads(
    rig: ApiRig,
) -> None:
    def fail() -> str:
        raise DatabaseUnavailableError("away by now")

    scheduler = rig.services.scheduler
    scheduler._find_leader = fail
    run_id = rig.start("a")

    assert rig.client.post(f"/api/v1/runs/{run_id}:cancel").status_code == 202
    assert rig.client.get("/metrics").status_code == 200
    assert rig.client.get("/healthz").get_json()["status"] == "degraded"


def test_a_repetition_is_answered_where_no_other_start_is_let_in(rig: ApiRig) -> None:
    failed = rig.start("a", name="x")
    rig.play(failed, "failed", a="failed")
    dag_id = rig.client.get(f"/api/v1/runs/{failed}").get_json()["dag_id"]
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/api/v1/runs", {"data": write_dag("b"), "content_type": YAML}),
        (f"/api/v1/dags/{dag_id}/runs", {"json": {}}),
        (f"/api/v1/runs/{failed}:retry", {}),
    ]

    def start_all(key: str) -> list[Any]:
        return [
            rig.client.post(path, headers={"Idempotency-Key": f"{key}{number}"}, **body)
            for number, (path, body) in enumerate(calls)
        ]

    first = start_all("k")
    rig.services.flood = FloodGate(0, 1, lambda _: 1)
    again, anew = start_all("k"), start_all("n")

    assert [reply.status_code for reply in again] == [202, 202, 202]
    assert [reply.get_json()["id"] for reply in again] == [one.get_json()["id"] for one in first]
    assert [reply.status_code for reply in anew] == [429, 429, 429]


def test_a_dry_run_costs_no_start(rig: ApiRig) -> None:
    rig.services.flood = FloodGate(0.001, 0, lambda _: 0)
    file: dict[str, Any] = {"data": write_dag("a"), "content_type": YAML}

    dry = [rig.client.post("/api/v1/runs?dry_run=true", **file).status_code for _ in range(3)]
    started = [rig.client.post("/api/v1/runs", **file) for _ in range(2)]
    dag_id = started[0].get_json()["dag_id"]
    stored = rig.client.post(f"/api/v1/dags/{dag_id}/runs", json={"dry_run": True})

    assert dry == [200, 200, 200]
    assert [reply.status_code for reply in started] == [202, 429]
    assert stored.status_code == 200
