"""What a user does, with real processes over HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.credit_data import write_credit_csv
from tests.support.services import ROOT, RunningService, dagengine, make_environment, run_serve

DAG_FILE = ROOT / "tests" / "data" / "credit_default.yaml"
SPLIT = "algo_local_split_data_45_1517360836712"
EVALUATE = "algo_local_model_2c_eval_45_1517362022452"


def read_figures(output: str) -> dict[str, float]:
    """Read the figures of the printed report: `auc  0.6512`."""
    return {
        name: float(value)
        for name, value in re.findall(r"^\s*([a-z0-9_]+)\s+([0-9.]+)\s*$", output, re.MULTILINE)
    }


def check_figures(figures: dict[str, Any]) -> None:
    assert 0.60 < figures["auc"] < 0.75
    assert 0.75 < figures["accuracy"] < 0.82


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_credit_csv(tmp_path_factory.mktemp("data") / "credit.csv", n_rows=20_000)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with run_serve(tmp_path_factory.mktemp("home") / "家") as running:
        yield running


@pytest.mark.timeout(600)
def test_fresh_clone_shows_the_demo_and_leaves_nothing_running(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    mark = uuid.uuid4().hex
    found = subprocess.run(
        ["make", "demo", *([f"UV={uv}"] if uv else [])],
        cwd=clone,
        env=make_environment({"DAGENGINE_TEST_MARK": mark, "DAGENGINE__SERVER__PORT": "0"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    for title in ("读取数据", "缺失值填充", "类别编码", "拆分数据", "逻辑回归", "GBDT"):
        assert f"✓ {title} [" in found.stdout
    assert re.search(r"评估·逻辑回归 +评估·GBDT", found.stdout)
    (auc,) = re.findall(r"^\s*auc +([0-9.]+) +([0-9.]+)$", found.stdout, re.MULTILINE)
    assert all(0.7 < float(value) < 0.85 for value in auc)
    assert re.search(r"http://127\.0\.0\.1:\d+/runs/r\w{19}", found.stdout)
    assert [line for line in _find_marked(mark) if "defunct" not in line] == []


def _find_marked(mark: str) -> list[str]:
    from tests.support.services import find_marked

    return find_marked(mark)


def test_front_end_file_runs_unchanged_and_prints_its_report(
    service: RunningService, data: Path
) -> None:
    added = dagengine(
        "datasets", "add", str(data), "--id", "40", "--name", "credit default", url=service.url
    )
    assert added.returncode == 0, added.stderr
    assert "Dataset 40 (credit default) is registered as version" in added.stdout
    ran = dagengine("run", str(DAG_FILE), "--wait", url=service.url)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "邏輯回歸二分類" in ran.stdout
    check_figures(read_figures(ran.stdout))
    assert re.search(rf"Look closer: {service.url}/runs/r\w{{19}}", ran.stdout)


@pytest.mark.skipif(
    shutil.which("curl") is None and "CI" not in os.environ, reason="curl is not installed"
)
def test_the_same_by_curl_with_polling_events_log_and_preview(
    service: RunningService, data: Path
) -> None:
    api = f"{service.url}/api/v1"
    curl("-F", f"file=@{data}", "-F", "id=40", f"{api}/datasets")
    posted = curl_json(
        "--data-binary", f"@{DAG_FILE}", "-H", "Content-Type: application/yaml", f"{api}/runs"
    )
    run = posted["id"]
    assert service.wait_for_run(run)["state"] == "succeeded"

    stream = curl(
        "-N", "--max-time", "20", "-H", "Accept: text/event-stream", f"{api}/runs/{run}/events"
    )
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    numbers = [event["seq"] for event in events if "seq" in event]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [event for event in events if event.get("to") == "succeeded" and not event["operator"]]
    after = curl_json(f"{api}/runs/{run}/events?after={numbers[-2]}")
    assert [event["seq"] for event in after["items"]] == numbers[-1:]

    log = curl_json(f"{api}/runs/{run}/tasks/{EVALUATE}/attempts/1/log")
    assert log["is_complete"]
    preview = curl_json(f"{api}/runs/{run}/tasks/{SPLIT}/outputs/1/preview?limit=3")
    assert "LIMIT_BAL" in [column["name"] for column in preview["columns"]]
    assert len(preview["rows"]) == 3
    report = curl_json(f"{api}/runs/{run}/tasks/{EVALUATE}/outputs/0/content")
    check_figures(report)


def test_file_comes_back_as_it_was_posted(service: RunningService, data: Path) -> None:
    with data.open("rb") as file:
        service.post("/api/v1/datasets", files={"file": file}, data={"id": "40"})
    stored = service.call(
        "POST",
        "/api/v1/dags",
        data=DAG_FILE.read_bytes(),
        headers={"Content-Type": "application/yaml"},
    ).json()
    back = service.call(
        "GET", f"/api/v1/dags/{stored['id']}", headers={"Accept": "application/yaml"}
    )
    assert back.content == DAG_FILE.read_bytes()


def curl(*arguments: str) -> str:
    found = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "60", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def curl_json(*arguments: str) -> Any:
    return json.loads(curl(*arguments))
