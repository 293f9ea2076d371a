"""Running and watching: what is asked of the API, what people see, what the program answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tests.support.canned_api import CannedApi
from tests.unit.cli.conftest import Dagengine

RUN = "/api/v1/runs/r1"


def make_run(state: str = "succeeded", **facts: Any) -> dict[str, Any]:
    return {
        "id": "r1",
        "dag_id": "d1",
        "dag_version": 1,
        "dag_name": "信用",
        "state": state,
        "reason": "",
        "message": "",
        "created_at": "2026-01-01T10:00:00Z",
        "started_at": "2026-01-01T10:00:00Z",
        "ended_at": "2026-01-01T10:00:02.5Z" if state in {"succeeded", "failed"} else None,
        "tasks": {state: 1},
        **facts,
    }


def make_task(operator: str, state: str = "succeeded", **facts: Any) -> dict[str, Any]:
    return {
        "operator": operator,
        "title": "",
        "state": state,
        "reason": "",
        "message": "",
        "attempt": 1,
        "outputs": [],
        "started_at": "2026-01-01T10:00:00Z",
        "ended_at": "2026-01-01T10:00:01Z" if state in {"succeeded", "failed"} else None,
        **facts,
    }


def make_page(*items: Any) -> dict[str, Any]:
    return {"items": list(items), "next_cursor": None}


def write_dag(tmp_path: Path) -> str:
    path = tmp_path / "dag.yaml"
    path.write_text("dag: {}\n", encoding="utf-8")
    return str(path)


def report(**figures: Any) -> dict[str, Any]:
    return {**figures, "confusion_matrix": {"true_positive": 5, "false_positive": 1}}


def test_file_is_posted_as_it_is_with_an_idempotency_key(
    canned: CannedApi, dagengine: Dagengine, tmp_path: Path
) -> None:
    canned.put("POST /api/v1/runs", make_run("pending"), status=202)
    said = dagengine("run", write_dag(tmp_path))
    (asked,) = canned.find("POST /api/v1/runs")
    assert asked.body == b"dag: {}\n"
    assert asked.headers["content-type"] == "application/yaml"
    assert len(asked.headers["idempotency-key"]) == 32
    assert said.code == 0
    assert "Run r1 is pending." in said.out
    assert f"{canned.url}/runs/r1" in said.out


def test_range_and_parameters_of_a_file_are_query_parameters(
    canned: CannedApi, dagengine: Dagengine, tmp_path: Path
) -> None:
    canned.put("POST /api/v1/runs", make_run("pending"), status=202)
    flags = ("--from", "split", "--param", "split.ext1=0.7", "--param", "a.b.name=文字")
    dagengine("run", write_dag(tmp_path), *flags, "--base-run", "r0")
    (asked,) = canned.find("POST /api/v1/runs")
    assert asked.query["range"] == "from"
    assert asked.query["operators"] == "split"
    assert asked.query["base_run"] == "r0"
    assert json.loads(asked.query["params"]) == {"split": {"ext1": 0.7}, "a.b": {"name": "文字"}}


def test_stored_dag_is_found_by_its_name_and_run_with_a_json_body(
    canned: CannedApi, dagengine: Dagengine
) -> None:
    canned.put("GET /api/v1/dags", make_page({"id": "d9", "name": "信用"}))
    canned.put("POST /api/v1/dags/d9/runs", make_run("pending"), status=202)
    assert dagengine("run", "信用", "--only", "split").code == 0
    (asked,) = canned.find("POST /api/v1/dags/d9/runs")
    assert asked.json() == {"range": "only", "operators": ["split"]}


def test_two_ranges_exclude_each_other(dagengine: Dagengine, tmp_path: Path) -> None:
    said = dagengine("run", write_dag(tmp_path), "--from", "a", "--to", "b")
    assert said.code == 2
    assert "--from and --to exclude each other" in said.err


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 3)])
def test_outcome_of_a_run_is_the_exit_code(
    canned: CannedApi, dagengine: Dagengine, tmp_path: Path, state: str, code: int
) -> None:
    canned.put("POST /api/v1/runs", make_run("pending"), status=202)
    canned.put(f"GET {RUN}", make_run("running"), make_run(state))
    canned.put(f"GET {RUN}/tasks", make_page(make_task("a", state)))
    canned.put(f"GET {RUN}/tasks/a", make_task("a", state, attempts=[]))
    said = dagengine("run", write_dag(tmp_path), "--wait")
    assert said.code == code
    assert f"Run r1 {state}" in said.out
    assert f"Look closer: {canned.url}/runs/r1" in said.out


def test_a_line_is_printed_for_every_change_where_there_is_no_terminal(
    canned: CannedApi, dagengine: Dagengine
) -> None:
    canned.put(f"GET {RUN}", *[make_run("running")] * 3, make_run("succeeded"))
    canned.put(
        f"GET {RUN}/tasks",
        make_page(make_task("a", "running", title="讀文件"), make_task("b", "pending", attempt=0)),
        make_page(make_task("a", title="讀文件"), make_task("b", "running")),
        make_page(make_task("a", title="讀文件"), make_task("b")),
    )
    lines = dagengine("runs", "watch", "r1").out.splitlines()
    changes = [line.split("  ", 1)[1] for line in lines if " ✓ " in line or " ● " in line]
    assert changes == [
        "● 讀文件 [a]: running",
        "✓ 讀文件 [a]: succeeded in 1.00 s",
        "● b: running",
        "✓ b: succeeded in 1.00 s",
    ]


def test_reports_stand_side_by_side_and_wide_characters_are_aligned(
    canned: CannedApi, dagengine: Dagengine
) -> None:
    output = {"port": 0, "type": "report"}
    canned.put(f"GET {RUN}", make_run())
    canned.put(
        f"GET {RUN}/tasks",
        make_page(
            make_task("e1", title="评估·逻辑回归", outputs=[output]),
            make_task("e2", title="评估·GBDT", outputs=[output]),
        ),
    )
    canned.put(f"GET {RUN}/tasks/e1/outputs/0/content", report(auc=0.8123, accuracy=0.75))
    canned.put(f"GET {RUN}/tasks/e2/outputs/0/content", report(auc=0.7912, accuracy=0.76))
    lines = dagengine("runs", "watch", "r1").out.splitlines()
    (head,) = [line for line in lines if "评估·逻辑回归" in line and "评估·GBDT" in line]
    (auc,) = [line for line in lines if line.lstrip().startswith("auc")]
    assert "0.8123" in auc
    assert "0.7912" in auc
    assert cell_len(head.rstrip()) == cell_len(auc.rstrip())
    assert any("true_positive" in line and line.count("5") == 2 for line in lines)


def test_failure_is_told_with_its_reason_hint_and_where_its_log_is(
    canned: CannedApi, dagengine: Dagengine
) -> None:
    failed = make_task("m", "failed", title="模型", reason="invalid_input", message="没有列 x")
    canned.put(f"GET {RUN}", make_run("failed"))
    canned.put(f"GET {RUN}/tasks", make_page(failed))
    canned.put(f"GET {RUN}/tasks/m", failed | {"attempts": [{"attempt": 1, "hint": "Name y."}]})
    said = dagengine("runs", "watch", "r1")
    assert said.code == 1
    assert "模型 [m] failed: 没有列 x [invalid_input]" in said.out
    assert "hint: Name y." in said.out
    assert "log: dagengine logs r1 m" in said.out


def test_json_output_is_json_alone(canned: CannedApi, dagengine: Dagengine) -> None:
    canned.put(f"GET {RUN}", make_run())
    canned.put(f"GET {RUN}/tasks", make_page(make_task("a", title="讀文件")))
    said = dagengine("runs", "watch", "r1", "-o", "json")
    assert json.loads(said.out)["tasks"][0]["title"] == "讀文件"
    assert "讀文件" in said.out


def test_lists_are_read_through_their_pages(canned: CannedApi, dagengine: Dagengine) -> None:
    first = {"items": [make_run(), make_run()], "next_cursor": "c2"}
    canned.put("GET /api/v1/runs", first, make_page(make_run("failed")))
    said = dagengine("runs", "list", "--all", "-o", "json")
    assert [run["state"] for run in json.loads(said.out)] == ["succeeded", "succeeded", "failed"]
    assert canned.find("GET /api/v1/runs")[1].query["cursor"] == "c2"


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry"])
def test_control_posts_to_its_verb(canned: CannedApi, dagengine: Dagengine, verb: str) -> None:
    canned.put(f"POST {RUN}:{verb}", make_run("running"), status=202)
    said = dagengine("runs", verb, "r1")
    assert (said.code, said.out) == (0, "Run r1 is running.\n")


def test_one_task_is_cancelled_by_its_operator(canned: CannedApi, dagengine: Dagengine) -> None:
    canned.put(f"POST {RUN}/tasks/讀:cancel", make_task("讀"), status=202)
    assert dagengine("runs", "cancel", "r1", "讀").code == 0


def test_why_tells_the_reason_of_waiting(canned: CannedApi, dagengine: Dagengine) -> None:
    task = make_task("m", "ready", title="模型", attempt=0, reason="no_engine")
    task |= {"message": "No operator engine bears zone=b.", "attempts": []}
    canned.put(f"GET {RUN}/tasks/m", task)
    said = dagengine("runs", "why", "r1", "m")
    assert said.out == ("模型 [m]: ready\nWhy: No operator engine bears zone=b. [no_engine]\n")


def test_why_tells_what_the_cache_had(canned: CannedApi, dagengine: Dagengine) -> None:
    canned.put(f"GET {RUN}/tasks/m", make_task("m", title="模型", attempts=[]))
    story = {
        "verdict": "miss",
        "message": "Compared with run r0: the parameter C differs: 2.0 now, 1.0 then.",
        "source": None,
    }
    canned.put(f"GET {RUN}/tasks/m/cache", story)
    said = dagengine("runs", "why", "r1", "m")
    assert f"\nCache: miss. {story['message']}\n" in said.out

    source = {"run_id": "r0", "operator": "模", "attempt": 2}
    canned.put(f"GET {RUN}/tasks/m/cache", {**story, "verdict": "gone", "source": source})
    said = dagengine("runs", "why", "r1", "m")
    assert "made by 模 of run r0, attempt 2\n" in said.out

    canned.put(f"GET {RUN}/tasks/m/cache", {**story, "verdict": "open"})
    assert "Cache" not in dagengine("runs", "why", "r1", "m").out


@pytest.mark.parametrize("flags", [(), ("-f",)])
def test_log_of_what_was_cached_is_elsewhere(
    canned: CannedApi, dagengine: Dagengine, flags: tuple[str, ...]
) -> None:
    task = make_task("m", attempt=0, reason="cached") | {"message": "a of run r0 has made it."}
    canned.put(f"GET {RUN}/tasks/m", task)
    said = dagengine("logs", "r1", "m", *flags)
    assert said.code == 2
    assert "m has not run: a of run r0 has made it." in said.err


def test_log_is_followed_to_its_end(canned: CannedApi, dagengine: Dagengine) -> None:
    def piece(text: str, start: int, *, is_complete: bool) -> dict[str, Any]:
        end = start + len(text.encode())
        sizes = {"offset": start, "next_offset": end, "size_bytes": end}
        return {"text": text, "is_complete": is_complete, **sizes}

    canned.put(f"GET {RUN}/tasks/m", make_task("m", "running", attempt=2))
    canned.put(
        f"GET {RUN}/tasks/m/attempts/2/log",
        piece("开始\n", 0, is_complete=False),
        piece("", 7, is_complete=False),
        piece("完成\n", 7, is_complete=True),
        piece("", 14, is_complete=True),
    )
    said = dagengine("logs", "r1", "m", "-f")
    assert (said.code, said.out) == (0, "开始\n完成\n")


def test_log_of_what_has_not_run_says_so(canned: CannedApi, dagengine: Dagengine) -> None:
    canned.put(f"GET {RUN}/tasks/m", make_task("m", "pending", attempt=0))
    said = dagengine("logs", "r1", "m")
    assert said.code == 2
    assert "m has not run: it is pending." in said.err
    assert "dagengine runs why r1 m" in said.err
