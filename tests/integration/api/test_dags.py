from pathlib import Path

import pytest

from tests.support.api_rig import YAML, ApiRig, write_dag

EXAMPLE = Path(__file__).parents[2] / "data" / "credit_default.yaml"


def test_file_comes_back_as_it_was_posted_byte_for_byte(rig_everywhere: ApiRig) -> None:
    rig = rig_everywhere
    text = "# 注释 stays\n" + write_dag("读", "b<读", name="流程").replace("\n", "\r\n", 1)
    posted = rig.client.post("/api/v1/dags", data=text.encode(), content_type=YAML)
    assert posted.status_code == 201

    got = rig.client.get(posted.headers["Location"], headers={"Accept": YAML})

    assert got.data == text.encode()
    assert got.mimetype == YAML
    assert got.headers["ETag"] == posted.headers["ETag"]


def test_json_answer_holds_the_content_and_what_is_known_of_it(rig: ApiRig) -> None:
    dag_id = rig.client.post(
        "/api/v1/dags", data=write_dag("a", "b<a", name="流程"), content_type=YAML
    ).get_json()["id"]

    got = rig.client.get(f"/api/v1/dags/{dag_id}")

    assert "流程".encode() in got.data
    value = got.get_json()
    assert (value["name"], value["version"], value["n_operators"]) == ("流程", 1, 2)
    assert value["dag"]["operator_list"] == ["a", "b"]


def test_json_is_taken_and_given_as_yaml(rig: ApiRig) -> None:
    dag = rig.client.get(
        rig.client.post("/api/v1/dags", data=write_dag("a"), content_type=YAML).headers["Location"]
    ).get_json()["dag"]
    dag["name"] = "by json"

    posted = rig.client.post("/api/v1/dags", json={"dag": dag})
    got = rig.client.get(posted.headers["Location"], headers={"Accept": YAML})

    assert posted.status_code == 201
    assert "name: by json" in got.get_data(as_text=True)


def test_unknown_accept_is_not_acceptable(rig: ApiRig) -> None:
    location = rig.client.post("/api/v1/dags", data=write_dag("a"), content_type=YAML).headers[
        "Location"
    ]

    reply = rig.client.get(location, headers={"Accept": "image/png"})

    assert (reply.status_code, reply.get_json()["code"]) == (406, "not_acceptable")


def test_same_content_is_the_same_version_and_a_change_a_new_one(rig: ApiRig) -> None:
    first = rig.client.post("/api/v1/dags", data=write_dag("a", name="x"), content_type=YAML)
    again = rig.client.post("/api/v1/dags", data=write_dag("a", name="x"), content_type=YAML)
    changed = rig.client.post("/api/v1/dags", data=write_dag("b", name="x"), content_type=YAML)

    assert [reply.status_code for reply in (first, again, changed)] == [201, 200, 200]
    assert [reply.get_json()["version"] for reply in (first, again, changed)] == [1, 1, 2]
    dag_id = first.get_json()["id"]
    versions = rig.client.get(f"/api/v1/dags/{dag_id}/versions").get_json()
    assert [version["version"] for version in versions["items"]] == [2, 1]
    old = rig.client.get(f"/api/v1/dags/{dag_id}/versions/1", headers={"Accept": YAML})
    assert old.get_data(as_text=True) == write_dag("a", name="x")


def test_put_with_an_old_etag_is_refused_and_changes_nothing(rig: ApiRig) -> None:
    first = rig.client.post("/api/v1/dags", data=write_dag("a", name="x"), content_type=YAML)
    path, old = first.headers["Location"], first.headers["ETag"]
    changed = rig.client.put(
        path, data=write_dag("b", name="x"), content_type=YAML, headers={"If-Match": old}
    )

    late = rig.client.put(
        path, data=write_dag("c", name="x"), content_type=YAML, headers={"If-Match": old}
    )

    assert changed.status_code == 200
    assert (late.status_code, late.get_json()["code"]) == (412, "precondition_failed")
    assert rig.client.get(path).headers["ETag"] == changed.headers["ETag"] != old


def test_known_etag_is_answered_without_the_content(rig: ApiRig) -> None:
    posted = rig.client.post("/api/v1/dags", data=write_dag("a"), content_type=YAML)

    reply = rig.client.get(
        posted.headers["Location"], headers={"If-None-Match": posted.headers["ETag"]}
    )

    assert (reply.status_code, reply.data) == (304, b"")


def test_deleted_definition_is_gone_and_its_runs_stay(rig: ApiRig) -> None:
    run_id = rig.start("a")
    dag_id = rig.client.get(f"/api/v1/runs/{run_id}").get_json()["dag_id"]

    assert rig.client.delete(f"/api/v1/dags/{dag_id}").status_code == 204

    assert rig.client.get(f"/api/v1/dags/{dag_id}").status_code == 404
    assert rig.client.get(f"/api/v1/runs/{run_id}").status_code == 200


def test_list_is_given_in_pages_newest_first(rig: ApiRig) -> None:
    for number in range(5):
        rig.client.post("/api/v1/dags", data=write_dag("a", name=f"n{number}"), content_type=YAML)

    first = rig.client.get("/api/v1/dags?limit=3").get_json()
    rest = rig.client.get(f"/api/v1/dags?limit=3&cursor={first['next_cursor']}").get_json()

    names = [dag["name"] for dag in first["items"] + rest["items"]]
    assert names == ["n4", "n3", "n2", "n1", "n0"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("cursor", ["x y", "'", "../", "é"])
def test_made_up_cursor_is_refused(rig: ApiRig, cursor: str) -> None:
    reply = rig.client.get("/api/v1/dags", query_string={"cursor": cursor})

    assert (reply.status_code, reply.get_json()["code"]) == (400, "invalid_cursor")


def test_all_problems_are_told_at_once_with_their_places(rig: ApiRig) -> None:
    text = write_dag("a", "b<a", "c<b").replace("noop", "nop", 1).replace("target: c", "target: d")

    checked = rig.client.post("/api/v1/dags:validate", data=text, content_type=YAML)
    refused = rig.client.post("/api/v1/runs", data=text, content_type=YAML)

    found = checked.get_json()
    assert (checked.status_code, found["valid"]) == (200, False)
    assert {problem["code"] for problem in found["problems"]} >= {"unknown_algorithm"}
    assert len(found["problems"]) >= 2
    assert all(problem["line"] > 0 and problem["column"] > 0 for problem in found["problems"])
    assert all(problem["pointer"].startswith("/dag/") for problem in found["problems"])
    assert refused.status_code == 422
    assert refused.content_type == "application/problem+json"
    assert refused.get_json()["errors"] == found["problems"]


def test_sound_file_is_valid_and_nothing_is_stored(rig: ApiRig) -> None:
    reply = rig.client.post("/api/v1/dags:validate", data=write_dag("a"), content_type=YAML)

    assert reply.get_json() == {"valid": True, "problems": []}
    assert rig.client.get("/api/v1/dags").get_json()["items"] == []


def test_unknown_dataset_is_a_problem_like_the_others(rig: ApiRig) -> None:
    reply = rig.client.post("/api/v1/runs", data=EXAMPLE.read_bytes(), content_type=YAML)

    problem = reply.get_json()["errors"][0]
    assert reply.status_code == 422
    assert (problem["code"], problem["line"]) == ("unknown_dataset", 20)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"a: [", 400),
        (b"a: &x 1\nb: *x", 400),
        (b"a: !!python/object/apply:os.system [id]", 400),
        (b"[" * 100_000, 400),
        (b"dag: 1", 422),
        (b"\xff\xfe", 400),
        (b"dag: \x00", 400),
        (b"a: 1\n---\nb: 2", 400),
    ],
)
def test_file_that_cannot_be_read_is_refused_in_no_time(
    rig: ApiRig, data: bytes, status: int
) -> None:
    reply = rig.client.post("/api/v1/dags", data=data, content_type=YAML)

    assert reply.status_code in (status, 422)
    assert reply.get_json()["errors"]


def test_file_over_the_limit_is_too_large(rig: ApiRig) -> None:
    data = b"# " + b"x" * (16 * 1024 * 1024)

    reply = rig.client.post("/api/v1/dags", data=data, content_type=YAML)

    assert (reply.status_code, reply.get_json()["code"]) == (413, "body_too_large")
