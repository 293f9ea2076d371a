import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dag_engine.storage import datasets as stored_datasets
from dag_engine.storage import runs as stored_runs
from dag_engine.storage.rows import Inspection
from executors.base import ArtifactRef
from tests.support.api_rig import ApiRig
from tests.support.example_catalogue import make_offer
from tests.support.uploading import CSV, post_form, upload

PREVIEW = {
    "columns": [{"name": "年龄", "type": "int64"}, {"name": "y", "type": "int64"}],
    "rows": 2,
    "items": [[23, 1], [42, 0]],
}


def stored_files(rig: ApiRig) -> list[str]:
    folder = rig.home / "artifacts" / "datasets"
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(str(path).removeprefix("default/") for path in found)


def test_uploaded_file_becomes_a_version_with_its_digest(rig_everywhere: ApiRig) -> None:
    rig = rig_everywhere

    reply = upload(rig, id="40", name="信用 违约")

    dataset = reply.get_json()
    assert reply.status_code == 201
    assert reply.headers["Location"] == "/api/v1/datasets/40"
    assert (dataset["id"], dataset["version"], dataset["name"]) == ("40", 1, "信用 违约")
    assert (dataset["filename"], dataset["format"]) == ("表.csv", "csv")
    assert (dataset["bytes"], dataset["sha256"]) == (len(CSV), hashlib.sha256(CSV).hexdigest())
    assert stored_files(rig) == ["40/v1/表.csv"]
    assert (rig.home / "artifacts/datasets/default/40/v1/表.csv").read_bytes() == CSV


def test_upload_under_a_known_id_is_the_next_version(rig: ApiRig) -> None:
    upload(rig, id="40", name="first")
    upload(rig, CSV + b"50,1\n", id="40")

    dataset = rig.client.get("/api/v1/datasets/40").get_json()

    assert (dataset["version"], dataset["name"]) == (2, "first")
    assert [version["version"] for version in dataset["versions"]] == [2, 1]
    assert stored_files(rig) == ["40/v1/表.csv", "40/v2/表.csv"]


def test_upload_without_an_id_is_given_one(rig: ApiRig) -> None:
    dataset_id = upload(rig).get_json()["id"]

    assert rig.client.get(f"/api/v1/datasets/{dataset_id}").status_code == 200


def test_large_upload_is_streamed_whole(rig: ApiRig) -> None:
    data = b"a,b\n" + b"1234567,89\n" * 400_000

    dataset = upload(rig, data, id="large").get_json()

    assert dataset["bytes"] == len(data)
    assert dataset["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "filename",
    ["../../../escape.csv", "..\\..\\escape.csv", "/etc/escape.csv", "a/../../escape.csv",
     "escape.csv\x00.png.csv", "....//escape.csv"],
)  # fmt: skip
def test_file_name_cannot_lead_out_of_the_store(rig: ApiRig, filename: str) -> None:
    reply = upload(rig, filename=filename, id="x")

    assert reply.status_code == 201
    found = stored_files(rig)
    assert len(found) == 1
    assert found[0].startswith("x/v1/")
    assert len(list(rig.home.parent.rglob("*.csv"))) == 1


@pytest.mark.parametrize("dataset_id", ["../x", "..", "a/b", "a\\b", ".x", "a\x00", " "])
def test_id_cannot_lead_out_of_the_store(rig: ApiRig, dataset_id: str) -> None:
    reply = upload(rig, id=dataset_id)

    assert (reply.status_code, reply.get_json()["code"]) == (422, "bad_dataset_id")
    assert stored_files(rig) == []


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({}, 422),
        ({"file": "no file, a field"}, 422),
        ({"other": ("a.csv", b"x")}, 422),
        ([("file", ("a.csv", b"x")), ("file", ("b.csv", b"y"))], 422),
        ({"file": ("a.exe", b"x")}, 422),
        ({"file": ("a.csv", b"x"), "format": "pickle"}, 422),
        ({"file": ("a.csv", b"x"), "name": "n" * 1_000_000}, 413),
    ],
)
def test_form_that_does_not_fit_is_refused_and_leaves_nothing(
    rig: ApiRig, form: Any, status: int
) -> None:
    reply = post_form(rig, form)

    assert reply.status_code == status
    assert stored_files(rig) == []


def test_broken_form_is_refused_and_leaves_nothing(rig: ApiRig) -> None:
    half = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n1,2'

    reply = rig.client.post(
        "/api/v1/datasets", data=half, content_type="multipart/form-data; boundary=x"
    )

    assert reply.status_code in (400, 422)
    assert stored_files(rig) == []


def test_upload_over_the_limit_is_refused_and_leaves_nothing(
    make_rig: Callable[..., ApiRig],
) -> None:
    rig = make_rig(server={"max_upload_bytes": 1000})

    reply = upload(rig, b"x" * 2000)

    assert (reply.status_code, reply.get_json()["code"]) == (413, "body_too_large")
    assert stored_files(rig) == []


def test_file_below_an_allowed_root_is_registered_in_place(
    make_rig: Callable[..., ApiRig], tmp_path: Path
) -> None:
    root = tmp_path / "数据"
    root.mkdir()
    (root / "a.csv").write_bytes(CSV)
    rig = make_rig(dataset_roots=(str(root),))

    reply = rig.client.post(
        "/api/v1/datasets",
        json={"uri": str(root / "a.csv"), "id": 40, "options": {"encoding": "gb18030"}},
    )

    dataset = reply.get_json()
    assert reply.status_code == 201
    assert (dataset["id"], dataset["is_in_place"]) == ("40", True)
    assert dataset["uri"] == f"file://{root}/a.csv"
    assert dataset["options"] == {"encoding": "gb18030"}
    assert stored_files(rig) == []


@pytest.mark.parametrize("uri", ["/etc/passwd", "file:///etc/passwd", "../a.csv", "http://h/a.csv"])
def test_file_outside_the_roots_is_refused(
    make_rig: Callable[..., ApiRig], tmp_path: Path, uri: str
) -> None:
    rig = make_rig(dataset_roots=(str(tmp_path),))

    reply = rig.client.post("/api/v1/datasets", json={"uri": uri})

    assert (reply.status_code, reply.get_json()["code"]) == (422, "source_refused")
    assert "datasets.roots" in reply.get_json()["hint"]


def test_run_pins_the_version_that_is_latest_when_it_is_accepted(rig: ApiRig) -> None:
    upload(rig, id="40")
    text = (Path(__file__).parents[2] / "data" / "credit_default.yaml").read_bytes()
    first = rig.client.post("/api/v1/runs", data=text, content_type="application/yaml").get_json()
    upload(rig, CSV + b"1,1\n", id="40")

    retried = rig.client.post("/api/v1/runs", data=text, content_type="application/yaml").get_json()

    versions = [
        stored_runs.load_plan(rig.database, "default", run["id"]).tasks[0].datasets["40"].version
        for run in (first, retried)
    ]
    assert versions == [1, 2]


def test_retry_keeps_the_version_that_the_run_was_pinned_to(rig: ApiRig) -> None:
    upload(rig, id="40")
    text = (Path(__file__).parents[2] / "data" / "credit_default.yaml").read_bytes()
    run = rig.client.post("/api/v1/runs", data=text, content_type="application/yaml").get_json()
    upload(rig, CSV + b"1,1\n", id="40")
    rig.play(run["id"], "failed")

    retried = rig.client.post(f"/api/v1/runs/{run['id']}:retry").get_json()

    plan = stored_runs.load_plan(rig.database, "default", retried["id"])
    assert plan.tasks[0].datasets["40"].version == 1


def register_preview(rig: ApiRig) -> None:
    rig.register(make_offer("algo_internal_preview_dataset"))


def find_preview_run(rig: ApiRig) -> str:
    runs = stored_runs.list_runs(rig.database, "system", is_internal=True).items
    return runs[0].id


def test_preview_is_made_by_a_worker_and_kept(rig: ApiRig) -> None:
    upload(rig, id="40")
    register_preview(rig)
    pending = rig.client.get("/api/v1/datasets/40/preview?wait_s=0")
    run_id = find_preview_run(rig)
    rig.play(run_id, "succeeded", preview="succeeded")
    rig.give(run_id, 0, ArtifactRef(type="report", inline=PREVIEW))

    made = rig.client.get("/api/v1/datasets/40/preview?limit=1")
    kept = rig.client.get("/api/v1/datasets/40/preview")

    assert (pending.status_code, pending.get_json()["code"]) == (503, "preview_pending")
    assert made.get_json() == {
        "columns": PREVIEW["columns"],
        "rows": [[23, 1]],
        "n_rows": 2,
        "is_truncated": True,
    }
    assert kept.get_json()["rows"] == PREVIEW["items"]
    dataset = rig.client.get("/api/v1/datasets/40").get_json()
    assert (dataset["rows"], dataset["columns"]) == (2, PREVIEW["columns"])
    plan = stored_runs.load_plan(rig.database, "system", run_id)
    assert plan.tasks[0].params == {"data_id": "40", "limit": 50}
    assert plan.tasks[0].datasets["40"].version == 1


def test_several_that_ask_at_once_start_one_run(rig: ApiRig) -> None:
    upload(rig, id="40")
    register_preview(rig)
    for _ in range(3):
        rig.client.get("/api/v1/datasets/40/preview?wait_s=0")

    assert len(stored_runs.list_runs(rig.database, "system", is_internal=True).items) == 1
    assert rig.client.get("/api/v1/runs").get_json()["items"] == []


def test_file_that_cannot_be_read_says_why(rig: ApiRig) -> None:
    upload(rig, id="40")
    register_preview(rig)
    rig.client.get("/api/v1/datasets/40/preview?wait_s=0")
    rig.play(find_preview_run(rig), "failed", preview="failed")

    for _ in range(2):
        reply = rig.client.get("/api/v1/datasets/40/preview")
        assert (reply.status_code, reply.get_json()["code"]) == (422, "preview_failed")
        assert "因为" in reply.get_json()["detail"]


def test_preview_that_was_cancelled_is_made_anew(rig: ApiRig) -> None:
    upload(rig, id="40")
    register_preview(rig)
    rig.client.get("/api/v1/datasets/40/preview?wait_s=0")
    first = find_preview_run(rig)
    rig.play(first, "cancelled", preview="cancelled")

    rig.client.get("/api/v1/datasets/40/preview?wait_s=0")

    assert find_preview_run(rig) != first


def test_preview_without_any_engine_asks_to_come_again(make_rig: Callable[..., ApiRig]) -> None:
    rig = make_rig()
    upload(rig, id="40")

    reply = rig.client.get("/api/v1/datasets/40/preview")

    assert (reply.status_code, reply.get_json()["code"]) == (503, "no_preview_algorithm")
    assert "Retry-After" in reply.headers


def test_unknown_dataset_is_not_found(rig: ApiRig) -> None:
    for path in ("none", "none/preview", "none/preview?version=3"):
        assert rig.client.get(f"/api/v1/datasets/{path}").status_code == 404


def test_why_a_preview_failed_bears_no_password(rig: ApiRig) -> None:
    upload(rig, id="40")
    why = Inspection(state="failed", error="http://me:geheim@data.example/x.csv is away")
    stored_datasets.set_inspection(rig.database, "default", "40", 1, why)

    reply = rig.client.get("/api/v1/datasets/40/preview")

    assert reply.get_json()["code"] == "preview_failed"
    assert "http://me:***@data.example" in reply.get_json()["detail"]
