"""S19 to S23, S27 to S29: parameters, names and paths that mean more than they should."""

from __future__ import annotations

import json
import random
import sqlite3
from typing import Any

from tests.support.bad_input.bench import BODY, JSON, YAML, Bench, change, operator, write_dag
from tests.support.bad_input.registry import case

MEGABYTE = 1024 * 1024
INJECTIONS = (
    "'; DROP TABLE runs; --",
    '" OR 1=1 --',
    "%s %(name)s %%",
    "\\' OR '1'='1",
    "x'); DELETE FROM tasks; --",
    "`dags`",
)
TEMPLATES = (
    "{{ 7*7 }}",
    "{0.__class__.__mro__}",
    "${jndi:ldap://127.0.0.1/a}",
    "$(touch /tmp/x)",
    "`id`",
    "%(asctime)s {detail!r}",
    "<%= 7*7 %>",
)


def _echo(**params: Any) -> str:
    return write_dag(operator("bad_echo", params))


@case(
    19,
    'A parameter of the wrong type, missing, unknown; `true` for 1, `"1"` for 1',
    "422 bad_parameter",
    "422 missing_parameter",
    "422 unknown_parameter",
    about="with the JSON pointer; nothing is coerced",
)
def wrong_parameters(bench: Bench) -> None:
    """Refused by place."""
    params = "/dag/operator_details/a/params"
    wrong: dict[str, Any] = {"number": "1", "text": 1, "ratio": 1.5, "choice": "three",
                             "words": "one", "is_on": "yes"}  # fmt: skip
    for name, value in [*wrong.items(), ("number", True), ("number", 1.5), ("is_on", 1)]:
        text = _echo(**{name: value})
        bench.refuse_dag(text, 422, "bad_parameter", media_type=JSON, pointer=f"{params}/{name}")
    bench.refuse_dag(
        _echo(words=["a", 5]), 422, "bad_parameter", media_type=JSON, pointer=f"{params}/words/1"
    )
    bench.refuse_dag(
        _echo(nummber=1), 422, "unknown_parameter", media_type=JSON,
        pointer=f"{params}/nummber", says=("number",),
    )  # fmt: skip
    needs = write_dag(operator("bad_needs"))
    bench.refuse_dag(needs, 422, "missing_parameter", media_type=JSON, pointer=params)


@case(
    20,
    "SQL in every field, filter, cursor, key and table name",
    "400 unknown_parameter",
    "400 bad_parameter",
    "400 invalid_cursor",
    "400 bad_idempotency_key",
    "422 bad_operator_id",
    "422 bad_dataset_id",
    "run invalid_input",
    about="in texts it is kept as it is",
)
def sql(bench: Bench) -> None:
    """Names come from fixed lists; texts come back as they were sent."""
    for text in INJECTIONS:
        dag = json.loads(write_dag(operator("bad_echo", {"text": text}, cn_name=text, type=text)))
        dag["dag"] |= {"name": text, "description": text}
        run_id = bench.run(json.dumps(dag))
        run = bench.get(f"/api/v1/runs/{run_id}")
        assert run["dag_name"] == text
        assert bench.get(f"/api/v1/dags/{run['dag_id']}")["dag"] == dag["dag"]
        assert bench.report(run_id)["text"] == text
        assert bench.get("/api/v1/runs", params={"dag_id": text})["items"] == []
        bench.refuse("GET", "/api/v1/runs", 400, "bad_parameter", params={"state": text})
        bench.refuse("GET", "/api/v1/runs", 400, "invalid_cursor", params={"cursor": text})
        bench.refuse("GET", "/api/v1/runs", 400, "unknown_parameter", params={"sort": text})
        odd = {"id": text, "uri": str(bench.data / "a.csv")}
        bench.refuse("POST", "/api/v1/datasets", 422, "bad_dataset_id", json=odd)
        key = {"Idempotency-Key": text + " x" * 80, "Content-Type": YAML}
        bench.refuse(
            "POST", "/api/v1/runs", 400, "bad_idempotency_key", data=BODY.encode(), headers=key
        )
        named = json.loads(write_dag(operator("bad_echo") | {"id": text}))
        bench.refuse_dag(json.dumps(named), 422, "bad_operator_id", media_type=JSON)
        for table, columns in ((text, None), ("good", [text])):
            asked = {"connection": "plain", "table": table, "columns": columns}
            task = bench.fail_run(
                write_dag(operator("algo_read_sql_table", asked)), "invalid_input"
            )
            assert text in task["message"]
    with sqlite3.connect(bench.data / "plain.db") as connection:
        assert connection.execute("SELECT COUNT(*) FROM good").fetchone() == (1,)
    connection.close()


@case(
    21,
    "`os.system`, `../x`, `__import__`, `module:function` as algorithm or executor",
    "422 unknown_algorithm",
    "422 unknown_executor",
)
def foreign_code(bench: Bench) -> None:
    """Looked up in the catalogue and nowhere else; the nearest names are told."""
    names = ("os.system", "../x", "__import__", "sklearn.utils", "os:system", "bad_ech",
             "/tmp/x.py:run", "bad_echo\n")  # fmt: skip
    for name in names:
        bench.refuse_dag(
            write_dag(operator(name)), 422, "unknown_algorithm", media_type=JSON,
            pointer="/dag/operator_details/a/algo_name",
        )  # fmt: skip
    bench.refuse_dag(
        write_dag(operator("bad_ech")), 422, "unknown_algorithm", media_type=JSON,
        says=("bad_echo",),
    )  # fmt: skip
    for name in ("os.system", "executors.local.client:LocalExecutor", "../x"):
        text = write_dag(operator("bad_echo", run={"executor": name}))
        bench.refuse_dag(text, 422, "unknown_executor", media_type=JSON)


@case(22, "`{{ 7*7 }}`, `{0.__class__}`, `${jndi:…}`, `$(…)` in every text", about="kept as text")
def templates(bench: Bench) -> None:
    """Nothing is filled in or carried out, in reports, logs, events and errors."""
    for text in TEMPLATES:
        dag = json.loads(write_dag(operator("bad_echo", {"text": text}, cn_name=text)))
        dag["dag"]["name"] = text
        run_id = bench.run(json.dumps(dag))
        assert bench.report(run_id)["text"] == text
        task = bench.get(f"/api/v1/runs/{run_id}/tasks/a")
        assert (task["title"], task["params"]["text"]) == (text, text)
        spoken = bench.run(write_dag(operator("bad_speak", {"text": text})))
        log = bench.get(f"/api/v1/runs/{spoken}/tasks/a/attempts/1/log")["text"]
        assert log.count(text) == 2


PATHS = (
    "../../etc/passwd", "..\\..\\etc\\passwd", "%2e%2e%2fetc%2fpasswd", "%252e%252e%252fpasswd",
    "/etc/passwd", "file:///etc/passwd", "a.csv#/../../x", "C:\\boot.ini", "\\\\host\\share\\a.csv",
    "a\x00.csv",
)  # fmt: skip
RAW_PATHS = (
    "../secret", "%2e%2e/secret", "..%2fsecret", "%252e%252e%252fsecret", "..%5csecret",
    "/etc/passwd", "vendor/../../pyproject.toml", "vendor%2f..%2f..%2fpyproject.toml",
)  # fmt: skip


@case(
    23,
    "`../../etc/passwd`, `..\\`, `%2e%2e%2f`, `%252e`, `/etc/x`, `file:///`, `x#/../`, "
    "`C:\\`, NUL as path, id or file name",
    "422 source_refused",
    "422 bad_dataset_id",
    "404 not_found",
    about="the name of an upload loses its folders",
)
def paths(bench: Bench) -> None:
    """No path of a client's is followed; what is uploaded lies where the server says."""
    for path in PATHS:
        for uri in (path, f"{bench.data}/{path}", f"https://data.example/open/../{path}"):
            asked = {"uri": uri, "id": "p"}
            bench.refuse("POST", "/api/v1/datasets", 422, "source_refused", json=asked)
        if path != "a.csv#/../../x":
            asked = {"uri": str(bench.data / "good.csv"), "id": path}
            bench.refuse("POST", "/api/v1/datasets", 422, "bad_dataset_id", json=asked)
    for path in RAW_PATHS:
        _refuse_raw(bench, f"/static/{path}")
        _refuse_raw(bench, f"/api/v1/runs/{path}")
        _refuse_raw(bench, f"/api/v1/datasets/{path}")
    for path in (*PATHS[:-1], "CON.csv", "nul", ".hidden", ".."):
        before = bench.watch.look()
        reply = bench.send(
            "POST", "/api/v1/datasets", data={"id": "uploaded", "format": "csv"},
            files={"file": (path, b"a\n1\n")},
        )  # fmt: skip
        bench.watch.check(before, path, changes=True)
        assert reply.status_code == 201, reply.text
        assert reply.json()["uri"] == ""
        new = bench.watch.look().files.keys() - before.files.keys()
        placed = [name for name in new if name.startswith("artifacts/datasets/")]
        assert [name.rpartition("/")[0] for name in placed] == [
            f"artifacts/datasets/default/uploaded/v{reply.json()['version']}"
        ], (path, new)


def _refuse_raw(bench: Bench, path: str) -> None:
    """Ask for a path as it stands; a client would normalise it first."""
    before = bench.watch.look()
    reply = bench.send_raw(path)
    bench.watch.check(before, path)
    assert reply.status == 404, (path, reply.status)
    bench.check_silence(reply.read().decode(), path)
    bench.seen.add("404 not_found")


@case(
    27,
    "A pattern `(a+)+$` against a long text, a view that never ends, a cartesian join, a "
    "pattern as separator of a dataset",
    "run timeout",
    "run invalid_input",
)
def unbounded_work(bench: Bench) -> None:
    """Ends at the time limit of the task, though it computes inside a C library."""
    limit = {"timeout_s": 1}
    pattern = {"pattern": "(a+)+$", "text": "a" * 60 + "b"}
    bench.fail_run(write_dag(operator("bad_match", pattern, run=limit)), "timeout")
    for view in ("endless", "cartesian"):
        asked = {"connection": "plain", "table": view, "limit": 1}
        text = write_dag(operator("algo_read_sql_table", asked, run=limit))
        bench.fail_run(text, "timeout")
    asked = {"uri": str(bench.data / "good.csv"), "id": "parted",
             "options": {"separator": "(a+)+$"}}  # fmt: skip
    assert bench.send("POST", "/api/v1/datasets", json=asked).status_code == 201
    text = write_dag(operator("algo_local_read_file", {"data_id": "parted"}))
    task = bench.fail_run(text, "invalid_input")
    assert "separator must be one character" in task["message"]


OUT_OF_RANGE = (
    ("retries", 10**12), ("retries", -1), ("timeout_s", -1), ("timeout_s", 0),
    ("priority", 101), ("retry_delay_s", -5), ("retry_delay_s", 1e300),
)  # fmt: skip


@case(
    28,
    "10^12 retries, a negative time limit, priority 2^70, 0 cores",
    "422 out_of_range",
    "422 int_out_of_range",
    "422 wrong_type",
    "400 bad_parameter",
    "422 bad_body",
)
def out_of_range(bench: Bench) -> None:
    """Refused by range, in the file and in the options of a start."""
    for key, value in OUT_OF_RANGE:
        text = write_dag(operator("bad_echo", run={key: value}))
        bench.refuse_dag(
            text, 422, "out_of_range", media_type=JSON,
            pointer=f"/dag/operator_details/a/run/{key}",
        )  # fmt: skip
    for resources in ({"cpu": 0}, {"cpu": 1e9}, {"memory_mb": -1}, {"gpu": -1}):
        text = write_dag(operator("bad_echo", run={"resources": resources}))
        bench.refuse_dag(text, 422, "out_of_range", media_type=JSON)
    huge = write_dag(operator("bad_echo", run={"priority": 2**70}))
    bench.refuse_dag(huge, 422, "int_out_of_range", media_type=JSON)
    text = write_dag(operator("bad_echo", run={"retries": 1.5}))
    bench.refuse_dag(text, 422, "wrong_type", media_type=JSON)
    post = {"data": BODY.encode(), "headers": {"Content-Type": YAML}}
    for priority in ("101", str(2**70), "1.5", "x"):
        bench.refuse("POST", "/api/v1/runs", 400, "bad_parameter", params={"priority": priority},
                     **post)  # fmt: skip
    dag_id = bench.send("POST", "/api/v1/dags", **post).json()["id"]
    for body in ({"priority": 2**70}, {"priority": 101}, {"version": 0}, {"version": 2**40}):
        bench.refuse("POST", f"/api/v1/dags/{dag_id}/runs", 422, "bad_body", json=body)


@case(29, "A parameter of 20 MB; one of 15 MB", "413 body_too_large", about="15 MB are kept whole")
def large_parameter(bench: Bench) -> None:
    """Refused by the size of the body; what is below it reaches the database in one piece."""
    bench.refuse_dag(change("one", "x" * 20 * MEGABYTE), 413, "body_too_large")
    text = change("one", random.Random(29).randbytes(15 * MEGABYTE // 2).hex())
    stored = bench.send(
        "POST", "/api/v1/dags", data=text.encode(), headers={"Content-Type": YAML}
    ).json()
    kept = bench.send("GET", f"/api/v1/dags/{stored['id']}", headers={"Accept": YAML})
    assert kept.text == text
