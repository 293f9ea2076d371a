"""What the API says of results and logs that the policy of retention has deleted."""

from __future__ import annotations

import datetime as dt

import pytest

from dag_engine.config import RetentionConfig
from dag_engine.scheduler.housekeeping import Housekeeper
from executors.base import ArtifactRef
from tests.support.api_rig import ApiRig


def tidy(rig: ApiRig, **policy: float) -> None:
    keeper = Housekeeper(rig.database, rig.config.store_url, RetentionConfig(**policy))
    keeper.tidy(dt.datetime.now(dt.UTC) + dt.timedelta(days=100))


@pytest.mark.parametrize("part", ["", "/preview", "/content"])
def test_expired_results_are_gone_with_their_reason(rig: ApiRig, part: str) -> None:
    run_id = rig.start("a", "b")
    rig.play(run_id, "succeeded", a="succeeded", b="succeeded")
    rig.give(run_id, 1, ArtifactRef(type="report", inline={"auc": 0.7}))
    rig.write_log(run_id, 0, "hello")
    path = f"/api/v1/runs/{run_id}/tasks/a/outputs/0{part}"
    assert rig.client.get(path).status_code == 200
    tidy(rig, artifacts_days=1)
    reply = rig.client.get(path)
    assert (reply.status_code, reply.get_json()["code"]) == (410, "expired")
    assert "policy of retention" in reply.get_json()["detail"]
    run = rig.client.get(f"/api/v1/runs/{run_id}").get_json()
    assert (run["state"], run["tasks"]) == ("succeeded", {"succeeded": 2})
    report = rig.client.get(path.replace("tasks/a", "tasks/b"))
    assert report.status_code == 200, "small reports live in the database, with the record"
    assert rig.client.get(f"/api/v1/runs/{run_id}/tasks/a/attempts/1/log").status_code == 200


def test_expired_logs_are_gone_with_their_reason(rig: ApiRig) -> None:
    run_id = rig.start("a")
    rig.play(run_id, "succeeded", a="succeeded")
    rig.write_log(run_id, 0, "hello")
    tidy(rig, logs_days=1)
    reply = rig.client.get(f"/api/v1/runs/{run_id}/tasks/a/attempts/1/log")
    assert (reply.status_code, reply.get_json()["code"]) == (410, "expired")
    assert rig.client.get(f"/api/v1/runs/{run_id}/tasks/a/outputs/0").status_code == 200
    assert rig.client.get("/api/v1/runs/r-none/tasks/a/attempts/1/log").status_code == 404


def test_a_range_that_needs_expired_results_is_refused_naming_what_lacks(rig: ApiRig) -> None:
    former = rig.start("a", "b<a", name="two")
    rig.play(former, "succeeded", a="succeeded", b="succeeded")
    tidy(rig, artifacts_days=1)
    dag_id = rig.client.get(f"/api/v1/runs/{former}").get_json()["dag_id"]
    options = {"range": "only", "operators": ["b"], "base_run": former}
    refused = rig.client.post(f"/api/v1/dags/{dag_id}/runs", json=options)
    assert (refused.status_code, refused.get_json()["code"]) == (409, "missing_artifacts")
    assert [error["operator"] for error in refused.get_json()["errors"]] == ["a"]
