"""S24, S25, S46 to S48: what is planted in the store, and files that are not what they seem."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression

from algorithms.base import FittedModel
from executors.runtime.models import encode_model
from tests.support.bad_input.bench import Bench, operator, write_dag
from tests.support.bad_input.measuring import CPU_BOUND_S, GROWTH_BOUND_BYTES, find_bound_s
from tests.support.bad_input.registry import case

_LINE = "this line must not be written elsewhere"


def _plant(bench: Bench, what: str, outside: Path) -> dict[str, Any]:
    """Have an operator plant something for the operator `b`, and give what became of `b`."""
    planted = {"what": what, "index": 2, "outside": str(outside)}
    source = write_dag(
        operator("bad_table"),
        operator("bad_plant", planted) | {"id": "p"},
        operator("bad_take") | {"id": "b"},
        edges=[("a", "p"), ("a", "b"), ("p", "b")],
    )
    dag = json.loads(source)
    dag["dag"]["operator_rels"]["p"][0]["target_index"] = 1
    run_id = bench.start(json.dumps(dag))["id"]
    bench.finish(run_id)
    task: dict[str, Any] = bench.get(f"/api/v1/runs/{run_id}/tasks/b")
    return task | {"run": run_id}


def _expect(bench: Bench, task: dict[str, Any], reason: str) -> None:
    assert (task["state"], task["reason"]) == ("failed", reason), task
    bench.seen.add(f"run {reason}")


@case(
    24,
    "A symlink or hard link in the place of an artifact, a folder or a log; a workbook with `../x`",
    "run invalid_input",
    "run invalid_output",
    "run error",
    "410 artifact_gone",
    about="nothing outside is read or written",
)
def links(bench: Bench) -> None:
    """Refused, and the files outside stay as they are."""
    for what in ("symlink", "hard link"):
        secret = bench.outside / f"{what}.txt"
        task = _plant(bench, what, secret)
        _expect(bench, task, "invalid_input")
        for rest in ("content", "preview"):
            path = f"/api/v1/runs/{task['run']}/tasks/a/outputs/0/{rest}"
            bench.refuse("GET", path, 410, "artifact_gone")
        secret.unlink()
    folder = bench.outside / "folder"
    folder.mkdir()
    _expect(bench, _plant(bench, "folder", folder), "invalid_output")
    assert list(folder.iterdir()) == []
    log = bench.outside / "log.txt"
    log.write_text("secret\n")
    task = _plant(bench, "log", log)
    _expect(bench, task, "error")
    assert log.read_text() == "secret\n"
    shown = bench.get(f"/api/v1/runs/{task['run']}/tasks/b/attempts/1/log")
    assert "secret" not in shown["text"]
    task = _plant(bench, "run of logs", folder)
    _expect(bench, task, "error")
    assert list(folder.iterdir()) == []
    folder.rmdir()
    log.unlink()
    _read_workbook(bench)


def _read_workbook(bench: Bench) -> None:
    path = bench.data / "book.xlsx"
    pd.DataFrame({"a": [1]}).to_excel(path, index=False)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../outside/evil.txt", "evil")
        link = zipfile.ZipInfo("xl/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert _read(bench, path, "excel")["state"] == "succeeded"
    assert list(bench.outside.parent.rglob("evil.txt")) == []


def _read(bench: Bench, path: Path, kind: str) -> dict[str, Any]:
    """Register a file, have it read by a run, and give the task."""
    asked = {"uri": str(path), "id": "hostile", "format": kind}
    assert bench.send("POST", "/api/v1/datasets", json=asked).status_code == 201
    text = write_dag(operator("algo_local_read_file", {"data_id": "hostile"}))
    run_id = bench.start(text)["id"]
    bench.finish(run_id)
    task: dict[str, Any] = bench.get(f"/api/v1/runs/{run_id}/tasks/a")
    return task | {"run": run_id}


def _open(bench: Bench, path: Path, kind: str = "model") -> dict[str, Any]:
    """Have a worker open a file of the store, and give the task; the bounds hold in the worker."""
    source = write_dag(
        operator("bad_table"),
        operator("bad_open", {"path": str(path), "kind": kind}) | {"id": "o"},
        edges=[("a", "o")],
    )
    run_id = bench.start(source)["id"]
    bench.finish(run_id)
    task: dict[str, Any] = bench.get(f"/api/v1/runs/{run_id}/tasks/o")
    cost = task["metrics"]
    assert cost["cpu_s"] < CPU_BOUND_S or cost["cpu_s"] < find_bound_s(), (path.name, cost)
    assert cost["growth_kb"] * 1024 < GROWTH_BOUND_BYTES, (path.name, cost)
    bench.check_silence(task["message"], path.name)
    return task | {"run": run_id}


def _refuse_to_open(bench: Bench, path: Path, kind: str = "model", says: str = "") -> None:
    task = _open(bench, path, kind)
    _expect(bench, task, "invalid_input")
    assert says in task["message"], (path.name, task["message"])


def _model(estimator: Any = None) -> bytes:
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
    made = estimator or LogisticRegression()
    return encode_model("m", FittedModel(made.fit(frame, [0, 0, 1, 1]), ["a"], "y", 1))


def _rewrite(data: bytes, ending: str, new: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Write a model again with every member of an ending replaced, or one added."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as archive,
        zipfile.ZipFile(buffer, "w", compression) as target,
    ):
        for name in archive.namelist():
            is_replaced = bool(ending) and name.endswith(ending)
            target.writestr(name, new if is_replaced else archive.read(name))
        if ending not in {"", *(Path(name).suffix for name in archive.namelist()), "schema.json"}:
            target.writestr(f"9{ending}", new)
    return buffer.getvalue()


def _bombs() -> Iterator[tuple[str, bytes]]:
    zeros = io.BytesIO()
    np.save(zeros, np.zeros(1 << 20))
    yield "compressed", _rewrite(_model(), ".npy", zeros.getvalue(), zipfile.ZIP_DEFLATED)
    header = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(header, shape)
    yield "declared", _rewrite(_model(), ".npy", header.getvalue())
    nested = io.BytesIO()
    with zipfile.ZipFile(nested, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", zeros.getvalue())
    yield "nested", _rewrite(_model(), ".npz", nested.getvalue())
    whole = _model()
    for old, new in ((b"\x50\x4b\x01\x02", 24), (b"\x50\x4b\x03\x04", 22)):
        at = whole.rindex(old) + new
        whole = whole[:at] + (1 << 31).to_bytes(4, "little") + whole[at + 4 :]
    yield "sizes that lie", whole
    yield "deep schema", _rewrite(_model(), "schema.json", b'{"a":' * 200_000)


@case(
    25,
    "A model that is small on the disk and gigabytes in memory",
    "run invalid_input",
    about="before it is loaded",
)
def bombs(bench: Bench) -> None:
    """Refused by what it declares and by what is there, within the bounds of the worker."""
    for name, data in _bombs():
        path = bench.data / f"{name}.skops"
        path.write_bytes(data)
        _refuse_to_open(bench, path)


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.path,))


def _disguises(bench: Bench, canary: Path) -> Iterator[tuple[str, str, bytes]]:
    plain = pickle.dumps(Harmful(canary))
    yield "m.pkl", "model", plain
    yield "m.skops", "model", plain
    yield "t.arrow", "table", plain
    yield "t.parquet", "table", plain
    yield "r.json", "report", plain
    joblib.dump({"estimator": Harmful(canary)}, bench.data / "dump.joblib")
    yield "j.skops", "model", (bench.data / "dump.joblib").read_bytes()
    torch = io.BytesIO()
    with zipfile.ZipFile(torch, "w") as archive:
        archive.writestr("archive/data.pkl", plain)
        archive.writestr("archive/version", "3\n")
    yield "torch.skops", "model", torch.getvalue()
    array = io.BytesIO()
    np.save(array, np.array([Harmful(canary)], dtype=object), allow_pickle=True)
    yield "object.skops", "model", _rewrite(_model(), ".npy", array.getvalue())
    yield "member.skops", "model", _rewrite(_model(), ".npy", plain)
    yield "nested.skops", "model", _rewrite(_model(), ".npz", plain)
    yield "array.npy", "model", array.getvalue()


@case(
    46,
    "A pickle as `.pkl`, `.skops`, `.npy`, `.parquet`, `.arrow`, in joblib, a torch archive, an "
    "array of objects",
    "run invalid_input",
    about="nothing is unpickled",
)
def pickles(bench: Bench) -> None:
    """Refused in every disguise, as artifact and as dataset."""
    canary = bench.outside / "unpickled"
    for name, kind, data in _disguises(bench, canary):
        path = bench.data / name
        path.write_bytes(data)
        _refuse_to_open(bench, path, kind)
        assert not canary.exists(), name
    for kind in ("parquet", "excel", "jsonl"):
        path = bench.data / "t.parquet"
        task = _read(bench, path, kind)
        _expect(bench, task, "invalid_input")
        assert not canary.exists(), kind


@case(47, "A model that names a type beyond the list", "run invalid_input", about="naming the type")
def foreign_types(bench: Bench) -> None:
    """Refused by name: a list of what is good, not of what is bad."""
    whole = _model()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        schema = json.loads(archive.read("schema.json"))
    for module, name in (("os", "system"), ("builtins", "eval"), ("pickle", "loads"),
                         ("sklearn.utils", "Bunch2"), ("subprocess", "Popen")):  # fmt: skip
        schema["content"]["estimator"] |= {"__module__": module, "__class__": name}
        path = bench.data / "foreign.skops"
        path.write_bytes(_rewrite(whole, "schema.json", json.dumps(schema).encode()))
        _refuse_to_open(bench, path, says=f"{module}.{name}")


def _extended(canary: Path) -> pa.Table:
    """Make a table whose type old releases of pyarrow unpickled (CVE-2023-47248)."""
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Harmful(canary)),
    }
    field = pa.field("x", pa.int64(), metadata=metadata)
    return pa.table([pa.array([1, 2])], schema=pa.schema([field]))


@case(
    48,
    "Parquet and Arrow with a pickled extension type, truncated files, CSV with formulas",
    "run invalid_input",
    about="the type is not known and formulas are text",
)
def odd_tables(bench: Bench) -> None:
    """Refused where damaged, harmless where not."""
    canary = bench.outside / "unpickled"
    table = _extended(canary)
    arrow, parquet = bench.data / "x.arrow", bench.data / "x.parquet"
    with pa.OSFile(str(arrow), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    pq.write_table(table, parquet)
    for path in (arrow, parquet):
        assert _open(bench, path, "table")["state"] == "succeeded"
    assert _read(bench, parquet, "parquet")["state"] == "succeeded"
    assert not canary.exists()
    for path in (arrow, parquet):
        whole = path.read_bytes()
        for size in (0, 4, len(whole) // 2, len(whole) - 1):
            cut = bench.data / f"cut{path.suffix}"
            cut.write_bytes(whole[:size])
            _refuse_to_open(bench, cut, "table")
    formulas = bench.data / "formulas.csv"
    formulas.write_text("a,b\n=cmd|' /C calc'!A0,@SUM(1)\n+1+1,-2+3\n")
    task = _read(bench, formulas, "csv")
    assert task["state"] == "succeeded"
    rows = bench.get(f"/api/v1/runs/{task['run']}/tasks/a/outputs/0/preview")["rows"]
    assert rows == [["=cmd|' /C calc'!A0", "@SUM(1)"], ["+1+1", "-2+3"]]
