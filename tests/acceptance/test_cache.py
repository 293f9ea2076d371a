"""Equal work is done once, with real processes: the example twice, then with one thing changed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.databases import fresh_mysql_url
from tests.support.services import ROOT, RunningService, dagengine, run_serve

EXAMPLE = ROOT / "config" / "examples" / "german_credit.yaml"
DATA = ROOT / "config" / "datasets" / "german_credit.csv"
ALL = {
    "read", "fill", "encode", "split", "model_lr", "model_gbdt", "predict_lr", "predict_gbdt",
    "evaluate_lr", "evaluate_gbdt",
}  # fmt: skip
BELOW_GBDT = {"model_gbdt", "predict_gbdt", "evaluate_gbdt"}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("mysql", marks=pytest.mark.mysql)])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """The service with the example's data, on either database."""
    with contextlib.ExitStack() as stack:
        arguments: tuple[str, ...] = ()
        if request.param == "mysql":
            url = stack.enter_context(fresh_mysql_url())
            made = dagengine("db", "upgrade", "--database-url", url)
            assert made.returncode == 0, made.stderr
            arguments = ("--database-url", url)
        running = stack.enter_context(run_serve(tmp_path_factory.mktemp("home"), *arguments))
        with DATA.open("rb") as file:
            running.post("/api/v1/datasets", files={"file": file}, data={"id": "german_credit"})
        yield running


def post(service: RunningService, cache: str = "", **params: dict[str, Any]) -> str:
    """Start the example; `params` overrides parameters, by operator."""
    text = EXAMPLE.read_text(encoding="utf-8")
    if cache:
        text = text.replace("params: {}", f"params: {{}}\n      run: {{cache: {cache!r}}}")
    return service.post(
        "/api/v1/runs",
        data=text.encode(),
        headers={"Content-Type": "application/yaml"},
        params={"params": json.dumps(params)},
    )["id"]


def end(service: RunningService, run_id: str) -> dict[str, dict[str, Any]]:
    """Wait for the success of a run, and give its tasks by operator."""
    assert service.wait_for_run(run_id)["state"] == "succeeded"
    tasks = service.get(f"/api/v1/runs/{run_id}/tasks")["items"]
    return {task["operator"]: task for task in tasks}


def run(service: RunningService, cache: str = "", **params: dict[str, Any]) -> set[str]:
    """Run the example, and tell which operators were computed."""
    return find_computed(end(service, post(service, cache, **params)))


def find_computed(tasks: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, task in tasks.items() if task["reason"] == "ran"}


def tell_story(service: RunningService, run_id: str, operator: str) -> dict[str, Any]:
    return service.get(f"/api/v1/runs/{run_id}/tasks/{operator}/cache")


def test_the_second_run_of_the_example_is_all_cached(service: RunningService) -> None:
    first = post(service, model_lr={"C": 2})
    made = end(service, first)
    assert find_computed(made) == ALL

    second = post(service, model_lr={"C": 2})
    found = end(service, second)

    assert find_computed(found) == set()
    assert {task["reason"] for task in found.values()} == {"cached"}
    assert {task["attempt"] for task in found.values()} == {0}
    digests = [[task[n]["outputs"] for n in sorted(ALL)] for task in (made, found)]
    assert digests[0] == digests[1]
    assert [task["metrics"] for task in made.values()] == [
        task["metrics"] for task in found.values()
    ]
    report = f"/api/v1/runs/{second}/tasks/evaluate_gbdt/outputs/0/content"
    assert service.get(report) == service.get(report.replace(second, first))
    whole = service.get(f"/api/v1/runs/{second}")
    assert whole["tasks"] == {"succeeded": len(ALL)}
    story = tell_story(service, second, "split")
    assert (story["verdict"], story["source"]["run_id"]) == ("hit", first)
    log = dagengine("logs", second, "split", url=service.url)
    assert log.returncode != 0
    assert f"split of run {first} has made the same result before" in log.stderr


def test_one_changed_parameter_computes_what_is_below_it(service: RunningService) -> None:
    run(service)
    changed = {"model_gbdt": {"n_estimators": 20}}
    plan = dagengine(
        "run", str(EXAMPLE), "--dry-run", "-o", "json", "--param", "model_gbdt.n_estimators=20",
        url=service.url,
    )  # fmt: skip
    hits = {task["operator"] for task in json.loads(plan.stdout)["tasks"] if task["hit"]}
    assert hits == ALL - BELOW_GBDT

    run_id = post(service, **changed)

    assert find_computed(end(service, run_id)) == BELOW_GBDT
    why = dagengine("runs", "why", run_id, "model_gbdt", url=service.url).stdout
    assert "Cache: miss." in why
    assert "the parameter n_estimators differs: 20 now, 100 then" in why
    story = tell_story(service, run_id, "predict_gbdt")
    assert [one["part"] for one in story["differences"]] == ["input"]
    assert run(service, **changed) == set()


def test_refresh_computes_and_keeps_and_off_does_neither(service: RunningService) -> None:
    predictions = {"predict_lr", "predict_gbdt"}
    own = {"split": {"ext2": 100}}
    run(service, **own)
    assert run(service, "refresh", **own) == predictions
    refreshed = post(service, **own)
    assert find_computed(end(service, refreshed)) == set()
    source = tell_story(service, refreshed, "predict_lr")["source"]["run_id"]
    assert tell_story(service, source, "predict_lr")["verdict"] == "refresh"

    alone = {"split": {"ext2": 101}}
    off = post(service, "off", **alone)
    assert predictions <= find_computed(end(service, off))
    assert tell_story(service, off, "predict_lr")["verdict"] == "off"
    assert run(service, **alone) == predictions, "what ran with cache: off was not kept"


def test_two_runs_at_once_compute_once(service: RunningService) -> None:
    own = {"split": {"ext2": 200}}
    pair = [post(service, **own) for _ in range(2)]

    computed = [find_computed(end(service, run_id)) for run_id in pair]

    below = ALL - {"read", "fill", "encode"}
    assert computed[0] & computed[1] == set()
    assert below <= computed[0] | computed[1]


def test_what_was_deleted_by_hand_is_made_again_and_why_says_so(service: RunningService) -> None:
    own = {"split": {"ext2": 300}}
    first = post(service, **own)
    [index] = {task["index"] for name, task in end(service, first).items() if name == "split"}
    [*files] = (service.home / "artifacts" / "runs" / first / str(index)).rglob("*.arrow")
    assert len(files) == 2
    files[0].unlink()

    second = post(service, **own)

    # What comes out again is the same, so what is below it still stands in; but a model is given
    # only with the table that it was fitted on.
    computed = find_computed(end(service, second))
    assert "split" in computed
    assert computed <= {"split", "model_lr", "model_gbdt"}
    why = dagengine("runs", "why", second, "split", url=service.url).stdout
    assert "Cache: gone." in why
    assert f"{files[0]} is gone" in why
    assert run(service, **own) == set()


def test_a_seed_that_is_left_open_is_drawn_for_every_run(service: RunningService) -> None:
    own: dict[str, dict[str, Any]] = {"split": {"ext2": None}}
    runs = [post(service, **own) for _ in range(2)]
    for run_id in runs:
        assert "split" in find_computed(end(service, run_id))
    story = tell_story(service, max(runs), "split")
    assert [one["part"] for one in story["differences"]] == ["seed"]
