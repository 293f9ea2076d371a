"""What goes wrong between client and API is told in sentences, and has an exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from dag_engine.cli.client import Client, MultipartFile
from tests.support.canned_api import CannedApi
from tests.unit.cli.conftest import Dagengine


def test_nobody_listens(dagengine: Dagengine) -> None:
    said = dagengine("runs", "list", "--url", "http://127.0.0.1:9")
    assert said.code == 4
    assert "Cannot reach the dag engine at http://127.0.0.1:9: nothing listens there." in said.err
    assert "dagengine serve" in said.err
    assert "Traceback" not in said.err


def test_a_service_that_is_not_ready_counts_as_unreachable(
    canned: CannedApi, dagengine: Dagengine
) -> None:
    canned.put("GET /api/v1/runs", {"detail": "The database is away."}, status=503)
    said = dagengine("runs", "list")
    assert said.code == 4
    assert "The database is away." in said.err


def test_refusal_lists_every_problem_with_file_line_and_hint(
    canned: CannedApi, dagengine: Dagengine, tmp_path: Path
) -> None:
    file = tmp_path / "dag.yaml"
    file.write_text("dag: {}\n")
    first = {"code": "unknown_target", "message": "There is no operator x.", "line": 4}
    first |= {"column": 7, "operator": "讀", "hint": "Did you mean y?"}
    second = {"code": "cycle", "message": "a → b → a", "pointer": "/dag/operator_rels"}
    problem = {"status": 422, "detail": "The DAG has 2 problems.", "errors": [first, second]}
    canned.put("POST /api/v1/runs", problem, status=422)
    said = dagengine("run", str(file))
    assert said.code == 5
    assert said.err == (
        "Error: The DAG has 2 problems.\n"
        f"{file}:4:7: 讀: There is no operator x. [unknown_target]\n"
        "    hint: Did you mean y?\n"
        "/dag/operator_rels: a → b → a [cycle]\n"
    )


def test_sentence_that_repeats_the_only_problem_is_not_told_twice(
    canned: CannedApi, dagengine: Dagengine, tmp_path: Path
) -> None:
    file = tmp_path / "dag.yaml"
    file.write_text("dag: {}\n")
    found = {"code": "cycle", "message": "a → b → a", "line": 3, "column": 1}
    problem = {"detail": "a → b → a (line 3, column 1)", "errors": [found]}
    canned.put("POST /api/v1/runs", problem, status=422)
    said = dagengine("run", str(file))
    assert said.err == f"Error: {file}:3:1: a → b → a [cycle]\n"


def test_tables_have_no_blanks_at_the_end_of_their_lines(
    canned: CannedApi, dagengine: Dagengine
) -> None:
    canned.put("GET /api/v1/algorithms", {"items": [{"name": "clip", "title_zh": "截断"}]})
    lines = dagengine("algorithms", "list").out.splitlines()
    assert len(lines) == 2
    assert lines == [line.rstrip() for line in lines]


def test_answer_that_is_no_problem_document_is_told_by_its_status(
    canned: CannedApi, dagengine: Dagengine
) -> None:
    canned.put("GET /api/v1/runs", b"<html>", status=418)
    said = dagengine("runs", "list")
    assert said.code == 5
    assert "answered 418" in said.err


@pytest.mark.parametrize(("valid", "code"), [(True, 0), (False, 1)])
def test_validate_answers_by_its_exit_code(
    canned: CannedApi, dagengine: Dagengine, tmp_path: Path, valid: bool, code: int
) -> None:
    file = tmp_path / "dag.json"
    file.write_text("{}")
    problems = [] if valid else [{"code": "c", "message": "wrong", "line": 1, "column": 2}]
    canned.put("POST /api/v1/dags:validate", {"valid": valid, "problems": problems})
    said = dagengine("validate", str(file))
    assert said.code == code
    assert ("dag.json:1:2: wrong [c]" in said.out) is not valid
    assert canned.asked[0].headers["content-type"] == "application/json"


def test_token_is_sent(canned: CannedApi, dagengine: Dagengine) -> None:
    canned.put("GET /api/v1/dags", {"items": [], "next_cursor": None})
    dagengine("dags", "list", "--token", "t0")
    assert canned.asked[0].headers["authorization"] == "Bearer t0"


def test_dataset_is_uploaded_as_a_form(
    canned: CannedApi, dagengine: Dagengine, tmp_path: Path
) -> None:
    file = tmp_path / "数据.csv"
    file.write_bytes(b"a,b\n1,2\n" * 1000)
    canned.put("POST /api/v1/datasets", {"id": "40", "name": "信用", "version": 1, "bytes": 8000})
    said = dagengine("datasets", "add", str(file), "--id", "40", "--name", "信用")
    (asked,) = canned.asked
    boundary = asked.headers["content-type"].partition("boundary=")[2].encode()
    parts = asked.body.split(b"--" + boundary)
    assert len(parts) == 5
    assert b'name="id"\r\n\r\n40\r\n' in parts[1]
    assert 'name="name"\r\n\r\n信用\r\n'.encode() in parts[2]
    assert 'filename="数据.csv"'.encode() in parts[3]
    assert parts[3].endswith(b"\r\n\r\n" + file.read_bytes() + b"\r\n")
    assert said.out == "Dataset 40 (信用) is registered as version 1, 8.0 kB.\n"


def test_in_place_dataset_is_registered_by_its_address(
    canned: CannedApi, dagengine: Dagengine
) -> None:
    canned.put("POST /api/v1/datasets", {"id": "41", "version": 1, "bytes": 5})
    dagengine("datasets", "add", "--in-place", "/data/x.csv", "--id", "41")
    assert canned.asked[0].json() == {"id": "41", "uri": "/data/x.csv"}


def test_multipart_length_is_what_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.bin"
    file.write_bytes(bytes(range(256)) * 1000)
    form = MultipartFile({"id": "識別"}, file)
    announced = len(form)
    n_read = 0
    while piece := form.read(8192):
        n_read += len(piece)
    form.close()
    assert n_read == announced


def test_put_sends_the_version_it_has_seen(
    canned: CannedApi, dagengine: Dagengine, tmp_path: Path
) -> None:
    file = tmp_path / "dag.yaml"
    file.write_text("dag: {}")
    canned.put("GET /api/v1/dags/d1", {"id": "d1"})
    canned.put("PUT /api/v1/dags/d1", {"id": "d1", "name": "x", "version": 2})
    said = dagengine("dags", "put", str(file), "d1")
    (asked,) = canned.find("PUT /api/v1/dags/d1")
    assert asked.headers["if-match"] == '"v1"'
    assert said.out == "Dag d1 (x) is stored as version 2.\n"


def test_get_prints_the_file_as_it_was_posted(canned: CannedApi, dagengine: Dagengine) -> None:
    canned.put("GET /api/v1/dags/d1", {"id": "d1"}, "dag: 讀\n".encode())
    said = dagengine("dags", "get", "d1")
    assert said.out == "dag: 讀\n"
    assert canned.asked[-1].headers["accept"] == "application/yaml"


def test_algorithm_is_shown_with_ports_and_parameters(
    canned: CannedApi, dagengine: Dagengine
) -> None:
    canned.put(
        "GET /api/v1/algorithms/clip",
        {
            "name": "clip",
            "title": "Clip",
            "title_zh": "截断",
            "inputs": [{"name": "rows", "type": "table"}],
            "outputs": [],
            "params_schema": {
                "properties": {"low": {"type": "number", "default": 0.1, "title_zh": "下限"}}
            },
            "doc": "Clip it.",
        },
    )
    said = dagengine("algorithms", "show", "clip")
    assert "Clip · 截断" in said.out
    assert "0: rows (table)" in said.out
    assert "下限" in said.out
    assert "Clip it." in said.out


def test_yaml_output_keeps_chinese(canned: CannedApi, dagengine: Dagengine) -> None:
    canned.put("GET /api/v1/datasets", {"items": [{"id": "信"}], "next_cursor": None})
    assert dagengine("datasets", "list", "-o", "yaml").out == "- id: 信\n"


def test_wrong_command_names_the_nearest(dagengine: Dagengine) -> None:
    said = dagengine("sevre")
    assert said.code == 2
    assert "Did you mean 'serve'?" in said.err


def test_shown_configuration_is_json_on_request(dagengine: Dagengine, tmp_path: Path) -> None:
    said = dagengine("config", "show", "--home", str(tmp_path), "-o", "json")
    rows = {row["key"]: row for row in json.loads(said.out)}
    assert rows["home"] == {"key": "home", "value": str(tmp_path), "origin": "flag --home"}


def test_wrong_configuration_is_told_in_a_sentence(
    dagengine: Dagengine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGENGINE__SERVER__PROT", "1")
    said = dagengine("config", "show")
    assert said.code == 2
    assert "did you mean server.port?" in said.err


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "[::1]", "localhost"])
def test_this_machine_is_asked_through_no_proxy(host: str) -> None:
    client = Client(f"http://{host}:8080")
    assert client._session.trust_env is False
    client.close()


HOSTILE = "a\x1b[31m\x9b1m\x7f\u202eb\r"


def test_programs_get_what_was_sent_and_a_terminal_nothing_to_obey(
    canned: CannedApi, dagengine: Dagengine
) -> None:
    item = {"id": "d1", "name": HOSTILE}
    for output, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        canned.put("GET /api/v1/dags", {"items": [item], "next_cursor": None})
        said = dagengine("dags", "list", "-o", output)
        assert read(said.out) == [item]
        assert not set("\x1b\x9b\x7f\u202e\r") & set(said.out)
    canned.put("GET /api/v1/dags", {"items": [item], "next_cursor": None})
    said = dagengine("dags", "list")
    assert "a␛[31m" in said.out
    assert not set("\x1b\x9b\x7f\u202e\r") & set(said.out)


def test_a_dag_is_found_by_whatever_name_it_has(canned: CannedApi, dagengine: Dagengine) -> None:
    canned.put("GET /api/v1/dags", {"items": [{"id": "d1", "name": "x\x1by"}]})
    canned.put("GET /api/v1/dags/d1", b"dag: {}\n")
    assert dagengine("dags", "get", "x\x1by").out == "dag: {}\n"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_file_of_a_dag_is_shown_on_a_terminal_and_given_to_a_program(
    canned: CannedApi, dagengine: Dagengine, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    canned.put("GET /api/v1/dags/d1", {"id": "d1"}, "dag: 讀\x1b[31m\n".encode())
    expected = "dag: 讀␛[31m\n" if is_terminal else "dag: 讀\x1b[31m\n"
    assert dagengine("dags", "get", "d1").out == expected


def test_logs_failures_and_refusals_steer_no_terminal(
    canned: CannedApi, dagengine: Dagengine
) -> None:
    canned.put("GET /api/v1/runs/r1/tasks/a", {"operator": "a", "state": "failed", "attempt": 1})
    log = {"text": HOSTILE, "next_offset": 9, "size_bytes": 9, "is_complete": True}
    canned.put("GET /api/v1/runs/r1/tasks/a/attempts/1/log", log, log)
    canned.put("GET /api/v1/runs", {"detail": HOSTILE}, status=409)
    for said in (dagengine("logs", "r1", "a"), dagengine("runs", "list")):
        assert "a␛[31m" in said.out + said.err
        assert not set("\x1b\x9b\x7f\u202e\r") & set(said.out + said.err)
