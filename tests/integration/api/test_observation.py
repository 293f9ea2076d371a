import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from dag_engine.core.plan import Plan
from dag_engine.storage import runs as stored_runs
from dag_engine.storage import tasks as stored_tasks
from dag_engine.storage.database import Database
from dag_engine.storage.errors import DatabaseUnavailableError, NotFoundError
from dag_engine.storage.rows import AttemptRecord, RunRecord, TaskRecord
from executors.base import ArtifactRef
from tests.support.api_rig import ApiRig
from tests.support.stored_samples import make_plan
from tests.support.waiting import wait_until


def read_events(data: bytes) -> list[tuple[str, str, Any]]:
    """Split a stream into (id, event, data); comments are left out."""
    found = []
    for block in data.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in lines:
            found.append((lines.get("id", ""), lines["event"], msgspec.json.decode(lines["data"])))
    return found


def test_runs_are_listed_by_state_and_definition(rig: ApiRig) -> None:
    first, second = rig.start("a"), rig.start("b", name="流程")
    rig.play(first, "failed", a="failed")
    dag_id = rig.client.get(f"/api/v1/runs/{second}").get_json()["dag_id"]

    def ids(query: str) -> list[str]:
        return [run["id"] for run in rig.client.get(f"/api/v1/runs{query}").get_json()["items"]]

    assert ids("") == [second, first]
    assert ids("?state=failed") == [first]
    assert ids("?state=failed,pending") == [second, first]
    assert ids(f"?dag_id={dag_id}") == [second]
    assert rig.client.get("/api/v1/runs?state=done").status_code == 400


def test_pages_of_runs_hold_each_run_once(rig: ApiRig) -> None:
    started = [rig.start("a") for _ in range(5)]
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        page = rig.client.get(f"/api/v1/runs?limit=2{cursor and '&cursor=' + cursor}").get_json()
        found += [run["id"] for run in page["items"]]
        cursor = page["next_cursor"]

    assert found == started[::-1]


def test_task_shows_state_reason_outputs_and_attempts(rig: ApiRig) -> None:
    run_id = rig.start("读", "b<读")
    rig.play(run_id, "failed", 读="succeeded", b="failed")

    tasks = rig.client.get(f"/api/v1/runs/{run_id}/tasks").get_json()["items"]
    failed = rig.client.get(f"/api/v1/runs/{run_id}/tasks/b").get_json()

    assert [(task["operator"], task["state"], task["reason"]) for task in tasks] == [
        ("读", "succeeded", "ran"),
        ("b", "failed", "error"),
    ]
    assert tasks[0]["outputs"][0]["rows"] == 3
    assert "uri" not in tasks[0]["outputs"][0]
    assert tasks[1]["upstream"] == ["读"]
    assert failed["attempts"][0]["traceback"] == "Traceback …"
    assert failed["hint"] == "再试"
    assert rig.client.get(f"/api/v1/runs/{run_id}/tasks?state=failed").get_json()["items"] == [
        tasks[1]
    ]


def test_wait_ends_at_once_where_the_run_is_over(rig: ApiRig) -> None:
    run_id = rig.start("a")
    rig.play(run_id, "succeeded", a="succeeded")
    began = time.monotonic()

    run = rig.client.get(f"/api/v1/runs/{run_id}?wait_s=30").get_json()

    assert run["state"] == "succeeded"
    assert time.monotonic() - began < 5


def test_wait_that_is_over_answers_the_run_as_it_is(rig: ApiRig) -> None:
    run_id = rig.start("a")

    run = rig.client.get(f"/api/v1/runs/{run_id}?wait_s=0.2").get_json()

    assert run["state"] == "pending"


def test_wait_sees_the_end_without_any_feed(rig: ApiRig) -> None:
    run_id = rig.start("a")
    found: list[str] = []
    waiter = threading.Thread(
        target=lambda: found.append(
            rig.app.test_client().get(f"/api/v1/runs/{run_id}?wait_s=30").get_json()["state"]
        )
    )
    waiter.start()
    rig.play(run_id, "running", a="running")

    rig.play(run_id, "succeeded", a="succeeded")

    waiter.join(10)
    assert found == ["succeeded"]


def test_history_is_given_in_order_from_any_number_on(rig: ApiRig) -> None:
    run_id = rig.start("a", "b<a")
    rig.play(run_id, "running", a="running")
    rig.play(run_id, "succeeded", a="succeeded", b="succeeded")

    def seqs(query: str) -> tuple[list[int], str | None]:
        page = rig.client.get(f"/api/v1/runs/{run_id}/events{query}").get_json()
        return [event["seq"] for event in page["items"]], page["next_cursor"]

    assert seqs("") == ([1, 2, 3, 4, 5], None)
    assert seqs("?after=3") == ([4, 5], None)
    assert seqs("?limit=2") == ([1, 2], "2")


def test_stream_of_a_run_that_is_over_tells_all_and_ends(rig: ApiRig) -> None:
    run_id = rig.start("读")
    rig.play(run_id, "succeeded", 读="succeeded")

    reply = rig.client.get(f"/api/v1/runs/{run_id}/events", headers={"Accept": "text/event-stream"})

    assert reply.mimetype == "text/event-stream"
    events = read_events(reply.data)
    assert [(number, kind) for number, kind, _ in events] == [
        ("1", "task"),
        ("2", "run"),
        ("", "end"),
    ]
    assert events[0][2]["operator"] == "读"
    assert events[-1][2]["state"] == "succeeded"


def test_broken_stream_is_taken_up_where_it_was(rig: ApiRig) -> None:
    run_id = rig.start("a")
    rig.play(run_id, "succeeded", a="succeeded")

    reply = rig.client.get(
        f"/api/v1/runs/{run_id}/events",
        headers={"Accept": "text/event-stream", "Last-Event-ID": "1"},
    )
    odd = rig.client.get(
        f"/api/v1/runs/{run_id}/events",
        headers={"Accept": "text/event-stream", "Last-Event-ID": "x"},
    )

    assert [number for number, _, _ in read_events(reply.data)] == ["2", ""]
    assert odd.status_code == 400


def test_stream_follows_a_run_to_its_end(rig: ApiRig) -> None:
    run_id = rig.start("a")
    reply = rig.client.get(f"/api/v1/runs/{run_id}/events", headers={"Accept": "text/event-stream"})
    pieces = reply.iter_encoded()
    told = next(pieces)
    rig.play(run_id, "running", a="running")
    told += next(pieces)
    rig.play(run_id, "failed", a="failed")
    told += b"".join(pieces)

    assert [kind for _, kind, _ in read_events(told)] == ["task", "run", "task", "run", "end"]
    reply.close()


def test_streams_beyond_half_of_the_threads_are_asked_to_come_again(
    make_rig: Callable[..., ApiRig],
) -> None:
    rig = make_rig(server={"threads": 4})
    rig.register()
    run_id = rig.start("a")
    path, stream = f"/api/v1/runs/{run_id}/events", {"Accept": "text/event-stream"}
    first, second = (rig.client.get(path, headers=stream) for _ in range(2))

    third = rig.client.get(path, headers=stream)
    waiting = rig.client.get(f"/api/v1/runs/{run_id}?wait_s=5")

    for reply in (third, waiting):
        assert (reply.status_code, reply.get_json()["code"]) == (503, "too_many_streams")
        assert int(reply.headers["Retry-After"]) >= 1
    assert rig.client.get(f"/api/v1/runs/{run_id}").status_code == 200
    first.close()
    again = rig.client.get(path, headers=stream)
    assert again.status_code == 200
    again.close()
    second.close()


def test_log_is_read_in_pieces_that_cut_no_character(rig: ApiRig) -> None:
    run_id = rig.start("a")
    rig.play(run_id, "running", a="running")
    rig.write_log(run_id, 0, "训练中\n")
    path = f"/api/v1/runs/{run_id}/tasks/a/attempts/1/log"

    first = rig.client.get(f"{path}?limit=5").get_json()
    rest = rig.client.get(f"{path}?offset={first['next_offset']}").get_json()

    assert (first["text"], first["next_offset"], first["is_complete"]) == ("训", 3, False)
    assert (rest["text"], rest["size_bytes"], rest["is_complete"]) == ("练中\n", 10, False)


def test_log_is_given_as_text_and_says_when_it_is_complete(rig: ApiRig) -> None:
    run_id = rig.start("a")
    rig.write_log(run_id, 0, "done 好\n")
    rig.play(run_id, "succeeded", a="succeeded")
    path = f"/api/v1/runs/{run_id}/tasks/a/attempts/1/log"

    plain = rig.client.get(path, headers={"Accept": "text/plain"})

    assert plain.get_data(as_text=True) == "done 好\n"
    assert plain.content_type == "text/plain; charset=utf-8"
    assert rig.client.get(path).get_json()["is_complete"] is True
    assert rig.client.get(path.replace("/1/", "/2/")).status_code == 404


def test_log_is_followed_to_the_end_of_the_attempt(rig: ApiRig) -> None:
    run_id = rig.start("a")
    rig.play(run_id, "running", a="running")
    rig.write_log(run_id, 0, "一\n")
    reply = rig.client.get(
        f"/api/v1/runs/{run_id}/tasks/a/attempts/1/log", headers={"Accept": "text/event-stream"}
    )
    pieces = reply.iter_encoded()
    told = next(pieces)
    rig.write_log(run_id, 0, "二\n")
    rig.play(run_id, "succeeded", a="succeeded")
    told += b"".join(pieces)
    reply.close()

    lines = [line for line in told.decode().split("\n") if line.startswith("data: ")]
    texts = [msgspec.json.decode(line[6:]).get("text", "") for line in lines]
    assert "".join(texts) == "一\n二\n"
    assert "event: end" in told.decode()


def test_log_that_nobody_has_is_empty(rig: ApiRig) -> None:
    run_id = rig.start("a")
    rig.play(run_id, "succeeded", a="succeeded")

    log = rig.client.get(f"/api/v1/runs/{run_id}/tasks/a/attempts/1/log").get_json()

    assert (log["text"], log["is_complete"]) == ("", True)


def test_table_is_previewed_and_downloaded(rig: ApiRig) -> None:
    run_id = rig.start("a")
    rig.play(run_id, "succeeded", a="succeeded")
    path = f"/api/v1/runs/{run_id}/tasks/a/outputs/0"

    preview = rig.client.get(f"{path}/preview?limit=2").get_json()
    content = rig.client.get(f"{path}/content")
    output = rig.client.get(path).get_json()

    assert preview["columns"] == [
        {"name": "年龄", "type": "int64"},
        {"name": "name", "type": "string"},
    ]
    assert preview["rows"] == [[23, "甲"], [42, "b"]]
    assert (preview["n_rows"], preview["is_truncated"]) == (3, True)
    assert content.data[:6] == b"ARROW1"
    assert len(content.data) == output["bytes"] == content.content_length
    assert "attachment" in content.headers["Content-Disposition"]


def test_content_of_a_report_is_its_json(rig: ApiRig) -> None:
    run_id = rig.start("a")
    rig.play(run_id, "succeeded", a="succeeded")
    rig.give(run_id, 0, ArtifactRef(type="report", inline={"auc": 0.75, "名": "好"}))

    reply = rig.client.get(f"/api/v1/runs/{run_id}/tasks/a/outputs/0/content")

    assert reply.get_json() == {"auc": 0.75, "名": "好"}
    assert "名".encode() in reply.data


@pytest.mark.parametrize("rest", ["content", "preview"])
def test_artifact_outside_the_store_is_never_opened(rig: ApiRig, rest: str) -> None:
    run_id = rig.start("a")
    rig.play(run_id, "succeeded", a="succeeded")
    rig.give(run_id, 0, ArtifactRef(type="table", uri="file:///etc/passwd", size_bytes=10))

    reply = rig.client.get(f"/api/v1/runs/{run_id}/tasks/a/outputs/0/{rest}")

    assert (reply.status_code, reply.get_json()["code"]) == (410, "artifact_gone")
    assert b"root:" not in reply.data


def test_artifact_that_is_gone_is_said_to_be(rig: ApiRig) -> None:
    run_id = rig.start("a")
    rig.play(run_id, "succeeded", a="succeeded")
    for path in (rig.home / "artifacts" / "runs").rglob("*.arrow"):
        path.unlink()

    reply = rig.client.get(f"/api/v1/runs/{run_id}/tasks/a/outputs/0/content")

    assert (reply.status_code, reply.get_json()["code"]) == (410, "artifact_gone")


def test_port_that_holds_nothing_yet_is_told_from_one_that_is_not_there(rig: ApiRig) -> None:
    run_id = rig.start("a")

    empty = rig.client.get(f"/api/v1/runs/{run_id}/tasks/a/outputs/0")
    missing = rig.client.get(f"/api/v1/runs/{run_id}/tasks/a/outputs/1")

    assert (empty.status_code, empty.get_json()["code"]) == (409, "no_output_yet")
    assert (missing.status_code, missing.get_json()["code"]) == (404, "no_such_port")


def test_stream_ends_its_watch_when_the_client_leaves(rig: ApiRig) -> None:
    run_id = rig.start("a")
    reply = rig.client.get(f"/api/v1/runs/{run_id}/events", headers={"Accept": "text/event-stream"})
    next(reply.iter_encoded())
    assert rig.services.feed._watches

    reply.close()

    wait_until(lambda: not rig.services.feed._watches)


def test_the_plan_of_a_large_new_run_is_not_read_again(
    rig: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = rig.start("a")
    large = rig.start(*[f"o{number}" for number in range(1_000)])
    read: list[str] = []
    load_plan = stored_runs.load_plan

    def note(database: Database, namespace: str, run_id: str) -> Plan:
        read.append(run_id)
        return load_plan(database, namespace, run_id)

    monkeypatch.setattr(stored_runs, "load_plan", note)
    for run_id in (small, large, small):
        page = rig.client.get(f"/api/v1/runs/{run_id}/tasks?limit=1000").get_json()
        assert page["items"][0]["seed"] is not None
    assert read == [small]
    assert rig.services.plans.get("default", large) == load_plan(rig.database, "default", large)


def test_plans_are_kept_by_namespace_and_the_newest_only(rig: ApiRig) -> None:
    plans, plan = rig.services.plans, make_plan(1_000)
    for number in range(100):
        plans.note_new("b", f"r{number}", plan)
    assert plans.get("b", "r99") is plan
    for namespace, run_id in (("default", "r99"), ("b", "r0")):
        with pytest.raises(NotFoundError):
            plans.get(namespace, run_id)


@pytest.mark.parametrize("number", ["x", "9" * 20, "9" * 5000])
def test_number_that_no_stream_has_told_is_refused(rig: ApiRig, number: str) -> None:
    run_id = rig.start("a")
    rig.play(run_id, "succeeded", a="succeeded")
    headers = {"Accept": "text/event-stream", "Last-Event-ID": number}

    for path in ("events", "tasks/a/attempts/1/log"):
        reply = rig.client.get(f"/api/v1/runs/{run_id}/{path}", headers=headers)
        assert (reply.status_code, reply.get_json()["code"]) == (400, "bad_last_event_id")


def test_broken_log_is_taken_up_where_it_was(rig: ApiRig) -> None:
    run_id = rig.start("a")
    rig.write_log(run_id, 0, "一\n二\n")
    rig.play(run_id, "succeeded", a="succeeded")

    reply = rig.client.get(
        f"/api/v1/runs/{run_id}/tasks/a/attempts/1/log",
        headers={"Accept": "text/event-stream", "Last-Event-ID": "4"},
    )

    text = reply.get_data(as_text=True)
    assert "二" in text
    assert "一" not in text


def test_followed_log_goes_on_while_the_database_is_away(
    rig: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = rig.start("a")
    rig.play(run_id, "running", a="running")
    rig.write_log(run_id, 0, "一\n")
    asked: list[str] = []
    get_attempt, get_task = stored_tasks.get_attempt, stored_tasks.get_task

    def find_attempt(*which: Any) -> AttemptRecord:
        asked.append("attempt")
        if asked.count("attempt") in (2, 3):
            raise DatabaseUnavailableError("away")
        return get_attempt(*which)

    def find_task(*which: Any) -> TaskRecord:
        asked.append("task")
        return get_task(*which)

    monkeypatch.setattr(stored_tasks, "get_attempt", find_attempt)
    monkeypatch.setattr(stored_tasks, "get_task", find_task)
    reply = rig.client.get(
        f"/api/v1/runs/{run_id}/tasks/a/attempts/1/log", headers={"Accept": "text/event-stream"}
    )
    pieces = reply.iter_encoded()
    told = next(pieces)
    rig.write_log(run_id, 0, "二\n")
    told += next(pieces)
    rig.play(run_id, "succeeded", a="succeeded")
    told += b"".join(pieces)

    text = told.decode()
    assert "一" in text
    assert "二" in text
    assert "event: end" in text
    assert asked.count("task") == 1, "it is looked up once, and not for every piece"


def test_wait_looks_at_the_run_once_before_it_waits(
    rig: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = rig.start("a")
    get_run = stored_runs.get_run
    looks: list[bool] = []

    def look(*which: Any) -> RunRecord:
        looks.append(bool(rig.services.feed._watches))
        return get_run(*which)

    monkeypatch.setattr(stored_runs, "get_run", look)
    rig.client.get(f"/api/v1/runs/{run_id}?wait_s=0.05")
    assert looks == [True, True], "before the wait and after it, and never unwatched"
    rig.play(run_id, "succeeded", a="succeeded")
    looks.clear()
    rig.client.get(f"/api/v1/runs/{run_id}?wait_s=30")
    assert looks == [True]
