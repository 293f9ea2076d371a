"""Sample definitions, plans, runs and registrations to store; factories with defaults."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

from dag_engine.core.changes import (
    ArtifactRow,
    AttemptRow,
    Batch,
    EntryRow,
    EventRow,
    FindingRow,
    RunRow,
    TaskRow,
)
from dag_engine.core.plan import Plan, PlannedTask
from dag_engine.storage import dags, runs
from dag_engine.storage.database import Database
from dag_engine.storage.rows import IdempotencyKey, NewDag, NewEdge, NewOperator, NewRun, RunRecord
from dag_engine.storage.scheduler_store import SchedulerStore
from executors.base import (
    AlgorithmOffer,
    ArtifactRef,
    Column,
    ExecutorOffer,
    InventoryItem,
    PortSpec,
    Registration,
)

MOMENT = dt.datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=dt.UTC)


def make_plan(n_tasks: int = 2, **changes: Any) -> Plan:
    return Plan(
        tasks=[
            PlannedTask(
                index=i,
                operator=f"算子_{i}",
                algorithm="algo_local_read_file",
                entry="algorithms.sources.read_file:read_file",
                title=f"讀文件 {i}",
                params={"data_id": "40", "列": ["年龄", "😀"]},
                upstream=[i - 1] if i else [],
                n_outputs=1,
                fingerprint=hashlib.sha256(f"{i}".encode()).hexdigest(),
                **changes,
            )
            for i in range(n_tasks)
        ]
    )


def make_new_dag(content: str = "dag: 一", **changes: Any) -> NewDag:
    values: dict[str, Any] = {
        "digest": hashlib.sha256(content.encode()).hexdigest(),
        "source": content.encode(),
        "media_type": "application/yaml",
        "name": "credit default",
        "operators": [NewOperator("a", "algo_one", "本地python", "數據源", "讀文件")],
        "edges": [NewEdge("a", 0, "b", 1)],
    }
    return NewDag(**{**values, **changes})


def store_sample_dag(database: Database, **changes: Any) -> str:
    return dags.store_dag(database, make_new_dag(**changes)).dag.id


def accept_sample_run(
    database: Database,
    *,
    n_tasks: int = 2,
    plan: Plan | None = None,
    idempotency_key: IdempotencyKey | None = None,
    **changes: Any,
) -> RunRecord:
    values: dict[str, Any] = {"dag_id": "d0000000000000000001", "dag_version": 1}
    new = NewRun(plan=plan or make_plan(n_tasks), **{**values, **changes})
    return runs.accept_run(database, new, idempotency_key=idempotency_key).run


def make_ref(**changes: Any) -> ArtifactRef:
    values: dict[str, Any] = {
        "type": "table",
        "uri": "file:///store/runs/r/0/1/0.arrow",
        "sha256": "ab" * 32,
        "size_bytes": 4096,
        "rows": 1000,
        "columns": [Column(name="年龄", type="int64")],
        "meta": {"note": "Größe 😀"},
    }
    return ArtifactRef(**{**values, **changes})


def make_run_row(run_id: str, state: str = "running", **changes: Any) -> RunRow:
    values: dict[str, Any] = {
        "reason_code": "",
        "reason": "",
        "started_at": MOMENT,
        "ended_at": None,
        "last_seq": 1,
        "counts": {"running": 1, "pending": 1},
    }
    return RunRow(run_id=run_id, state=state, **{**values, **changes})


def make_full_batch(run_id: str) -> Batch:
    """Make a batch with every kind of row below a run: its first task has succeeded."""
    batch = Batch(consumed_runs=[run_id])
    batch.runs[run_id] = make_run_row(run_id, last_seq=2, counts={"succeeded": 1, "pending": 1})
    batch.tasks[run_id, 0] = TaskRow(
        run_id,
        0,
        "算子_0",
        "succeeded",
        "ran",
        "成功 😀",
        attempt=1,
        engine_id="engine-1",
        started_at=MOMENT,
        ended_at=MOMENT + dt.timedelta(microseconds=1),
        progress={"done": 1.0, "total": 2.0, "message": "一半"},
        metrics={"auc": 0.75},
    )
    batch.attempts[run_id, 0, 1] = AttemptRow(
        run_id,
        0,
        1,
        "succeeded",
        "engine-1",
        message='it\'s 100% \\done\\ "so" %s',
        traceback="line 1\nline 2\0",
        queued_at=MOMENT,
        started_at=MOMENT,
        ended_at=MOMENT,
        exit_code=0,
        signal=None,
        worker="host 42",
        log_bytes=123,
    )
    batch.artifacts.append(ArtifactRow(run_id, 0, 0, 1, make_ref()))
    key = f"key of {run_id}"
    batch.entries["default", key] = EntryRow("default", key, run_id, 0, 1, MOMENT)
    batch.findings[run_id, 0] = FindingRow(run_id, 0, "gone", "r1", 2, 1, "不见了")
    batch.events.append(EventRow(run_id, 1, MOMENT, "run", None, 0, "pending", "running"))
    batch.events.append(
        EventRow(run_id, 2, MOMENT, "task", "算子_0", 1, "running", "succeeded", "ran", "成功")
    )
    return batch


def make_offer(name: str = "algo_one", code_version: str = "1+aaa", **changes: Any) -> Any:
    values: dict[str, Any] = {
        "entry": f"algorithms.{name}:{name}",
        "version": "1",
        "title_zh": "读文件",
        "outputs": [PortSpec(name="frame", type="table")],
        "params_schema": {"type": "object", "title": "参数"},
    }
    return AlgorithmOffer(name=name, code_version=code_version, **{**values, **changes})


def make_registration(engine_id: str = "engine-1", **changes: Any) -> Registration:
    values: dict[str, Any] = {
        "incarnation": "one",
        "url": "http://127.0.0.1:9000",
        "host": "主机",
        "version": "0.1.0",
        "labels": {"zone": "甲"},
        "slots": 4,
        "executors": [ExecutorOffer(name="local", data_types=["本地python", "local"], slots=4)],
        "algorithms": [make_offer()],
        "catalogue_digest": "digest-1",
        "inventory": [InventoryItem(attempt_id="r1.0.1", stage="started")],
    }
    return Registration(engine_id=engine_id, **{**values, **changes})


def make_store(database: Database, holder: str = "first", lease_s: float = 30.0) -> SchedulerStore:
    return SchedulerStore(
        database, holder=holder, url=f"http://127.0.0.1/{holder}", lease_s=lease_s
    )
