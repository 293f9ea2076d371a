"""A backup that is made while runs come in and work: what was accepted before it goes on from it,
in a database of the other kind.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from dag_engine.config import DatabaseConfig
from dag_engine.storage.backup_file import BackupReader
from dag_engine.storage.database import Database
from tests.support import ledger_algorithm
from tests.support.databases import DIALECTS, fresh_mysql_url, sqlite_url
from tests.support.services import RunningService, dagengine, put_algorithms, run_serve
from tests.support.stored_replay import replay_database
from tests.support.waiting import wait_until

OPERATORS = ("first", "left", "right", "last")
EDGES = {"first": ("left", "right"), "left": ("last",), "right": ("last",), "last": ()}


class Load:
    """Posts small runs one after the other, and remembers which were acknowledged."""

    def __init__(self, service: RunningService, ledger: Path) -> None:
        self.acknowledged: list[str] = []
        self._service = service
        self._ledger = ledger
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(60)

    def _run(self) -> None:
        with requests.Session() as session:
            while not self._stopped.wait(0.1):
                reply = session.post(
                    f"{self._service.url}/api/v1/runs",
                    data=json.dumps(_make_dag(str(self._ledger), len(self.acknowledged))),
                    headers={"Content-Type": "application/json"},
                    timeout=60,
                )
                assert reply.status_code == 202, reply.text
                self.acknowledged.append(reply.json()["id"])


def _make_dag(ledger: str, number: int) -> dict:
    details = {
        operator: {
            "algo_name": "write_ledger",
            "params": {"ledger": ledger, "line": f"{number} {operator}", "file_bytes": 1000},
        }
        for operator in OPERATORS
    }
    rels = {
        source: [{"target": target, "source_index": 0, "target_index": 0} for target in targets]
        for source, targets in EDGES.items()
    }
    return {
        "dag": {
            "operator_list": list(OPERATORS),
            "operator_rels": rels,
            "operator_details": details,
        }
    }


@pytest.fixture
def algorithms(tmp_path: Path) -> Path:
    return put_algorithms(tmp_path / "algorithms", ledger_algorithm)


@pytest.fixture(params=DIALECTS)
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A database of one kind, and an empty one of the other."""
    (tmp_path / "data").mkdir()
    file = sqlite_url(tmp_path / "data")
    with fresh_mysql_url() as server:
        yield (file, server) if request.param == "sqlite" else (server, file)


@pytest.mark.mysql
@pytest.mark.timeout(240)
def test_what_was_accepted_before_a_backup_goes_on_from_it_in_the_other_kind_of_database(
    tmp_path: Path, urls: tuple[str, str], algorithms: Path
) -> None:
    former, other = urls
    copy, home, new_home = tmp_path / "copy", tmp_path / "home", tmp_path / "new_home"
    store = {"DAGENGINE__STORE__URL": f"file://{tmp_path}/store"}
    arguments = ("--algorithms", str(algorithms), "--workers", "2")
    made = dagengine("db", "upgrade", "--database-url", former)
    assert made.returncode == 0, made.stderr
    with run_serve(home, *arguments, "--database-url", former, env=store) as service:
        with Load(service, tmp_path / "ledger") as load:
            wait_until(lambda: len(load.acknowledged) >= 8, 60, service.describe)
            before = list(load.acknowledged)
            said = dagengine("db", "backup", str(copy), "--database-url", former)
            assert said.returncode == 0, said.stderr
            wait_until(lambda: len(load.acknowledged) >= len(before) + 3, 60, service.describe)
        used = dagengine("db", "restore", str(copy), "--database-url", former)
        assert used.returncode == 1
        assert "in use" in used.stderr
    _check_one_moment(copy, before)
    new_home.mkdir()
    shutil.copy(home / "secret", new_home / "secret")
    restored = dagengine(
        "db", "restore", str(copy), "--home", str(new_home), "--database-url", other
    )
    assert restored.returncode == 0, restored.stderr
    assert "runs are not over and go on" in restored.stdout
    _check_replay(other)
    with run_serve(new_home, *arguments, "--database-url", other, env=store) as service:
        for run_id in before:
            run = service.wait_for_run(run_id, 90)
            assert run["state"] == "succeeded", run
        assert service.post("/api/v1/runs", json=_make_dag(str(tmp_path / "ledger"), 0))["id"]
    _check_replay(other)


def _check_one_moment(copy: Path, before: list[str]) -> None:
    """Everything accepted before is in it, some of it in the midst of its work."""
    rows: dict[str, list[dict]] = {}
    for frame in BackupReader(copy).read_rows():
        dicts = [dict(zip(frame.columns, row, strict=True)) for row in frame.rows]
        rows.setdefault(frame.table, []).extend(dicts)
    runs = {row["run_id"]: row for row in rows["runs"]}
    assert set(before) <= set(runs)
    assert any(row["ended_at"] is None for row in runs.values())
    last = {}
    for event in rows["events"]:
        last[event["run_id"]] = max(last.get(event["run_id"], 0), event["seq"])
    assert all(runs[run_id]["last_seq"] == seq for run_id, seq in last.items())


def _check_replay(url: str) -> None:
    database = Database(url, DatabaseConfig(url=url))
    replayed = replay_database(database)
    database.close()
    assert replayed.n_runs
    assert replayed.problems == []
