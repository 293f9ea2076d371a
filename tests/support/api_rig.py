"""The api over a real database, with the scheduler played by the test."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from dag_engine.api.app import create_app
from dag_engine.api.services import services_of
from dag_engine.config import Config, DatabaseConfig, ServerConfig
from dag_engine.core.changes import ArtifactRow, AttemptRow, Batch, EventRow, RunRow, TaskRow
from dag_engine.storage import runs as stored_runs
from dag_engine.storage import tasks as stored_tasks
from dag_engine.storage.scheduler_store import SchedulerStore
from executors.base import ArtifactRef, Column, Registration
from executors.store import ensure_marker
from tests.support.databases import open_migrated
from tests.support.example_catalogue import make_catalogue

MOMENT = dt.datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=dt.UTC)
YAML = "application/yaml"
SECRET = "installation secret"


def write_dag(*operators: str, name: str = "", algorithm: str = "noop", **run: Any) -> str:
    """Write a DAG file of operators such as `b<a`; `run` is the run section of all."""
    names = [operator.partition("<")[0] for operator in operators]
    rels: dict[str, list[dict[str, Any]]] = {}
    for operator in operators:
        target, _, sources = operator.partition("<")
        for source in filter(None, sources.split(",")):
            edge = {"target": target, "source_index": 0, "target_index": 0}
            rels.setdefault(source, []).append(edge)
    dag: dict[str, Any] = {
        "operator_list": names,
        "operator_rels": rels,
        "operator_details": {
            one: {
                "algo_name": algorithm,
                "data_type": "本地python",
                "cn_name": f"算子 {one}",
                "params": {},
                **({"run": dict(run)} if run else {}),
            }
            for one in names
        },
    }
    if name:
        dag["name"] = name
    return yaml.safe_dump({"dag": dag}, allow_unicode=True, sort_keys=False)


class ApiRig:
    """One api, its database, and the store of a scheduler that leads and does what it is told."""

    def __init__(self, home: Path, url: str, **changes: Any) -> None:
        self.home = home
        self.database = open_migrated(url)
        server = changes.pop("server", {})
        self.config = Config(
            home=home,
            server=ServerConfig(**server),
            database=DatabaseConfig(url=url),
            store_url=f"file://{home / 'artifacts'}",
            **changes,
        )
        (home / "secret").write_text(SECRET)
        ensure_marker(self.config.store_url)
        self.app = create_app(self.config)
        self.services = services_of(self.app)
        self.client = self.app.test_client()
        self.scheduler_url = "http://127.0.0.1:9"
        self._store: SchedulerStore | None = None

    @property
    def store(self) -> SchedulerStore:
        """The scheduler's store, which leads from its first use on."""
        if self._store is None:
            self._store = SchedulerStore(
                self.database, holder="played", url=self.scheduler_url, lease_s=60.0
            )
            assert self._store.try_lead()
        return self._store

    def register(self, *offers: Any, **changes: Any) -> None:
        """Register an operator engine with the example's catalogue."""
        catalogue = make_catalogue(*offers)
        fields: dict[str, Any] = {
            "engine_id": "engine-甲",
            "incarnation": "one",
            "url": "http://127.0.0.1:9",
            "labels": {"zone": "甲"},
            "slots": 4,
            "executors": list(catalogue.executors.values()),
            "algorithms": list(catalogue.algorithms.values()),
            "catalogue_digest": f"digest of {len(catalogue.algorithms)}",
        }
        self.store.save_registration(Registration(**{**fields, **changes}))

    def start(self, *operators: str, query: str = "", **fields: Any) -> str:
        """Start a DAG of operators and return the run's id."""
        reply = self.client.post(
            f"/api/v1/runs{query}", data=write_dag(*operators, **fields), content_type=YAML
        )
        assert reply.status_code == 202, reply.get_data(as_text=True)
        run_id: str = reply.get_json()["id"]
        return run_id

    def play(self, run_id: str, state: str, **tasks: str) -> None:
        """Bring a run and its tasks into these states, as the scheduler would."""
        namespace = self._namespace_of(run_id)
        batch = Batch(consumed_runs=[run_id])
        run = stored_runs.get_run(self.database, namespace, run_id)
        page = stored_tasks.list_tasks(self.database, namespace, run_id, limit=1000)
        counts: dict[str, int] = {}
        seq = run.last_seq
        for task in page.items:
            new = tasks.get(task.operator, task.state)
            counts[new] = counts.get(new, 0) + 1
            if new == task.state:
                continue
            seq += 1
            self._play_task(batch, run_id, task.index, task.operator, task.state, new)
            batch.events.append(
                EventRow(run_id, seq, MOMENT, "task", task.operator, 1, task.state, new, "", "好")
            )
        ended_at = MOMENT if state in ("succeeded", "failed", "cancelled") else None
        if state != run.state:
            seq += 1
            batch.events.append(EventRow(run_id, seq, MOMENT, "run", None, 0, run.state, state))
        batch.runs[run_id] = RunRow(run_id, state, "", "", MOMENT, ended_at, seq, counts)
        self.store.load_runs([run_id])
        self.store.commit(batch)

    def _namespace_of(self, run_id: str) -> str:
        return next(run.namespace for run in self.store.load_runs([run_id]))

    def _play_task(
        self, batch: Batch, run_id: str, index: int, operator: str, old: str, new: str
    ) -> None:
        is_over = new in ("succeeded", "failed", "cancelled")
        reason = {"succeeded": "ran", "failed": "error"}.get(new, "")
        ended_at = MOMENT if is_over else None
        batch.tasks[run_id, index] = TaskRow(
            run_id, index, operator, new, reason, "因为", attempt=1, engine_id="engine-甲",
            started_at=MOMENT, ended_at=ended_at,
        )  # fmt: skip
        batch.attempts[run_id, index, 1] = AttemptRow(
            run_id, index, 1, new, "engine-甲", reason, "因为", "再试", "Traceback …",
            MOMENT, MOMENT, ended_at, worker="host 1",
        )  # fmt: skip
        if new == "succeeded":
            batch.artifacts.append(
                ArtifactRow(run_id, index, 0, 1, self.write_table(run_id, index))
            )

    def write_table(self, run_id: str, index: int) -> ArtifactRef:
        """Write the table that a task leaves: three rows, one of them Chinese."""
        table = pa.table({"年龄": [23, 42, None], "name": ["甲", "b", "c"]})
        path = self.home / "artifacts" / "runs" / run_id / str(index) / "1" / "0.arrow"
        path.parent.mkdir(parents=True)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        data = path.read_bytes()
        return ArtifactRef(
            type="table",
            uri=f"file://{path}",
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            rows=3,
            columns=[Column(name="年龄", type="int64"), Column(name="name", type="string")],
        )

    def give(self, run_id: str, index: int, ref: ArtifactRef, port: int = 0) -> None:
        """Let an output port of a task hold something else."""
        self.store.commit(Batch(artifacts=[ArtifactRow(run_id, index, port, 1, ref)]))

    def write_log(self, run_id: str, index: int, text: str, attempt: int = 1) -> Path:
        """Write a log as an attempt would, or go on with it."""
        path = self.home / "artifacts" / "logs" / run_id / f"{index}.{attempt}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
        return path

    def close(self) -> None:
        """Close everything."""
        self.services.close()
        if self._store is not None:
            self._store.close()
        self.database.close()
