import pytest

from dag_engine.storage import commands as stored_commands
from tests.support.api_rig import ApiRig


def commands(rig: ApiRig, run_id: str) -> list[tuple[str, str | None]]:
    found = stored_commands.list_commands(rig.database, "default", run_id)
    return [(command.kind, command.operator) for command in found]


@pytest.mark.parametrize(
    ("verb", "state"),
    [
        ("cancel", "pending"), ("cancel", "running"), ("cancel", "paused"),
        ("cancel", "cancelling"),
        ("pause", "pending"), ("pause", "running"), ("pause", "pausing"), ("pause", "paused"),
        ("resume", "paused"), ("resume", "pausing"), ("resume", "running"),
    ],
)  # fmt: skip
def test_command_is_left_for_the_scheduler(rig: ApiRig, verb: str, state: str) -> None:
    run_id = rig.start("a")
    rig.play(run_id, state)

    reply = rig.client.post(f"/api/v1/runs/{run_id}:{verb}", json={})

    assert reply.status_code == 202
    assert (reply.get_json()["id"], reply.get_json()["state"]) == (run_id, state)
    assert commands(rig, run_id) == [(verb, None)]


@pytest.mark.parametrize(
    ("verb", "state"),
    [
        ("cancel", "succeeded"), ("cancel", "failed"),
        ("pause", "succeeded"), ("pause", "cancelled"), ("pause", "cancelling"),
        ("resume", "failed"), ("resume", "cancelled"), ("resume", "cancelling"),
    ],
)  # fmt: skip
def test_impossible_command_is_refused_naming_the_state(rig: ApiRig, verb: str, state: str) -> None:
    run_id = rig.start("a")
    rig.play(run_id, state)

    reply = rig.client.post(f"/api/v1/runs/{run_id}:{verb}")

    assert (reply.status_code, reply.get_json()["code"]) == (409, "impossible")
    assert state in reply.get_json()["detail"]
    assert commands(rig, run_id) == []


def test_cancel_of_a_cancelled_run_gives_the_same_answer_again(rig: ApiRig) -> None:
    run_id = rig.start("a")
    first = rig.client.post(f"/api/v1/runs/{run_id}:cancel")
    rig.play(run_id, "cancelled", a="cancelled")

    again = rig.client.post(f"/api/v1/runs/{run_id}:cancel")

    assert (first.status_code, again.status_code) == (202, 202)
    assert commands(rig, run_id) == [("cancel", None)]


def test_task_of_a_chinese_operator_is_cancelled(rig: ApiRig) -> None:
    run_id = rig.start("读", "b<读")
    rig.play(run_id, "running", 读="running")

    reply = rig.client.post(f"/api/v1/runs/{run_id}/tasks/读:cancel")

    assert (reply.status_code, reply.get_json()["operator"]) == (202, "读")
    assert commands(rig, run_id) == [("cancel", "读")]


@pytest.mark.parametrize(("state", "status"), [("cancelled", 202), ("succeeded", 409)])
def test_cancel_of_a_task_that_is_over(rig: ApiRig, state: str, status: int) -> None:
    run_id = rig.start("a", "b<a")
    rig.play(run_id, "running", a=state)

    assert rig.client.post(f"/api/v1/runs/{run_id}/tasks/a:cancel").status_code == status
    assert commands(rig, run_id) == []


@pytest.mark.parametrize("path", ["rnone:cancel", "rnone:retry", "rnone/tasks/a:cancel", "r:burn"])
def test_unknown_run_or_verb_is_not_found(rig: ApiRig, path: str) -> None:
    assert rig.client.post(f"/api/v1/runs/{path}").status_code in (404, 405)
