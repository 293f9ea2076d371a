"""What the API tells of the cache: whose result it was, what differs, and what a run would find."""

from __future__ import annotations

from typing import Any

import pytest

from dag_engine.core.changes import Batch, EntryRow, FindingRow, TaskRow
from dag_engine.core.plan import Plan
from dag_engine.core.work_keys import make_work_keys
from dag_engine.storage import reuse, runs
from dag_engine.storage.errors import NotFoundError
from executors.base import ArtifactRef
from tests.support.api_rig import MOMENT, YAML, ApiRig, write_dag


def finish(rig: ApiRig, run_id: str, *, has_read_seed: bool = False) -> None:
    """Let the operators a and b of a run be computed, and their results be kept."""
    rig.play(run_id, "succeeded", a="succeeded", b="succeeded")
    plan = runs.load_plan(rig.database, "default", run_id)
    outputs = reuse.load_outputs(rig.database, "default", run_id, [0, 1])
    batch = Batch()
    for task in plan.tasks:
        if task.work_base:
            inputs = [[outputs[edge.source or 0][0] for edge in port] for port in task.inputs]
            key = make_work_keys(task, inputs).choose(has_read_seed=has_read_seed)
            row = EntryRow("default", key, run_id, task.index, 1, MOMENT)
            batch.entries["default", key] = row
    rig.store.commit(batch)


def tell(rig: ApiRig, run_id: str, operator: str = "a") -> dict[str, Any]:
    reply = rig.client.get(f"/api/v1/runs/{run_id}/tasks/{operator}/cache")
    assert reply.status_code == 200, reply.get_data(as_text=True)
    return reply.get_json()


def foresee(rig: ApiRig, **fields: Any) -> dict[str, Any]:
    reply = rig.client.post(
        "/api/v1/runs?dry_run=true", data=write_dag("a", "b<a", **fields), content_type=YAML
    )
    assert reply.status_code == 200, reply.get_data(as_text=True)
    return {task["operator"]: task["hit"] for task in reply.get_json()["tasks"]}


def test_the_first_run_has_nothing_to_compare_with(rig: ApiRig) -> None:
    run_id = rig.start("a", "b<a")
    story = tell(rig, run_id)
    assert (story["verdict"], story["cache"], story["nearest"]) == ("miss", "use", None)
    assert "No former run" in story["message"]
    assert tell(rig, run_id, "b")["verdict"] == "open"
    assert rig.client.get(f"/api/v1/runs/{run_id}/tasks/z/cache").status_code == 404


def test_a_miss_names_what_differs_from_the_nearest_former_task(rig: ApiRig) -> None:
    far = rig.start("a", "b<a", name="one")
    finish(rig, far)
    near = rig.start("a", "b<a", name="one")
    finish(rig, near, has_read_seed=True)

    run_id = rig.start("a", "b<a", name="one")

    story = tell(rig, run_id)
    # The far one differs in nothing by now: its result is there and was not looked up.
    assert story["nearest"]["run_id"] == far
    assert story["differences"] == []
    rig.play(run_id, "running", a="succeeded")
    rig.give(run_id, 0, ArtifactRef(type="report", inline={"n": 1}))
    story = tell(rig, run_id, "b")
    assert story["nearest"]["run_id"] == far
    assert [(one["part"], one["name"]) for one in story["differences"]] == [("input", "0")]


def test_a_seed_that_was_read_is_what_differs(rig: ApiRig) -> None:
    former = rig.start("a", "b<a", name="one")
    finish(rig, former, has_read_seed=True)
    story = tell(rig, rig.start("a", "b<a", name="one"))
    assert [one["part"] for one in story["differences"]] == ["seed"]
    assert story["message"].startswith(f"Compared with run {former}: the seed")


@pytest.mark.parametrize("word", ["refresh", "off"])
def test_other_wishes_are_told(rig: ApiRig, word: str) -> None:
    story = tell(rig, rig.start("a", "b<a", cache=word))
    assert (story["verdict"], story["cache"]) == (word, word)


def test_a_finding_is_told_with_its_source(rig: ApiRig) -> None:
    former, run_id = rig.start("a", "b<a"), rig.start("a", "b<a")
    finish(rig, former)
    gone = FindingRow(run_id, 0, "gone", former, 0, 1, "The artifact x is gone.")
    rig.store.commit(Batch(findings={(run_id, 0): gone}))
    story = tell(rig, run_id)
    assert story["verdict"] == "gone"
    assert story["message"].endswith("The artifact x is gone.")
    assert story["source"] == {"run_id": former, "operator": "a", "attempt": 1}

    hit = FindingRow(run_id, 0, "hit", former, 0, 1)
    row = TaskRow(run_id, 0, "a", "succeeded", "cached", "It was there.", ended_at=MOMENT)
    rig.store.commit(Batch(findings={(run_id, 0): hit}, tasks={(run_id, 0): row}))
    story = tell(rig, run_id)
    assert (story["verdict"], story["source"]["run_id"]) == ("hit", former)


def test_a_dry_run_shows_what_is_there(rig: ApiRig) -> None:
    assert foresee(rig) == {"a": None, "b": None}
    former = rig.start("a", "b<a")
    finish(rig, former)
    hit = {"run_id": former, "operator": "a", "attempt": 1}
    assert foresee(rig) == {"a": hit, "b": {**hit, "operator": "b"}}
    assert foresee(rig, cache="off") == {"a": None, "b": None}
    assert foresee(rig, cache="refresh") == {"a": None, "b": None}


def test_a_dry_run_looks_whether_it_is_still_there(rig: ApiRig) -> None:
    former = rig.start("a", "b<a")
    finish(rig, former)
    [[ref]] = reuse.load_outputs(rig.database, "default", former, [0]).values()
    assert isinstance(ref, ArtifactRef)
    (rig.home / "artifacts" / "runs" / former / "0" / "1" / "0.arrow").unlink()
    assert foresee(rig) == {"a": None, "b": None}, "without a, nobody knows what comes into b"


def test_a_task_that_was_cancelled_before_it_began_missed_nothing(rig: ApiRig) -> None:
    finish(rig, rig.start("a", "b<a"))
    run_id = rig.start("a", "b<a")
    row = TaskRow(run_id, 0, "a", "cancelled", "cancelled", ended_at=MOMENT)
    rig.store.commit(Batch(tasks={(run_id, 0): row}))
    story = tell(rig, run_id)
    assert (story["verdict"], story["nearest"]) == ("open", None)


def test_a_former_run_that_is_deleted_meanwhile_is_passed_over(
    rig: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, deleted = rig.start("a", "b<a"), rig.start("a", "b<a")
    finish(rig, former)
    finish(rig, deleted)
    run_id = rig.start("a", "b<a")
    get = rig.services.plans.get

    def find_plan(namespace: str, wanted: str) -> Plan:
        if wanted == deleted:
            raise NotFoundError("run", wanted)
        return get(namespace, wanted)

    monkeypatch.setattr(rig.services.plans, "get", find_plan)
    assert tell(rig, run_id)["nearest"]["run_id"] == former
