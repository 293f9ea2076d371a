"""The bench on which bad input is tried: a real service, and a look at it around every request."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.support.bad_input.measuring import Watch
from tests.support.length import IS_LONG
from tests.support.services import RunningService
from tests.support.waiting import wait_until

YAML = "application/yaml"
JSON = "application/json"
PROBLEM = "application/problem+json"
_TRACES = ("Traceback", 'File "', "sqlalchemy", "site-packages")

BODY = """\
dag:
  operator_list: [a, b]
  operator_rels:
    a: [{target: b, source_index: 0, target_index: 0}]
  operator_details:
    a:
      algo_name: bad_echo
      data_type: 本地python
      params: {text: one}
    b:
      algo_name: bad_echo
      params:
        number: 1
"""
"""A sound DAG file for cases to damage."""


def change(old: str, new: str, body: str = BODY) -> str:
    """Damage the sound file in one place."""
    assert old in body, old
    return body.replace(old, new, 1)


def write_dag(*operators: dict[str, Any], edges: Iterable[tuple[str, str]] = ()) -> str:
    """Write operators as a DAG file in JSON; each has an `id` and what details hold."""
    rels: dict[str, list[dict[str, Any]]] = {}
    for source, target in edges:
        rels.setdefault(source, []).append({"target": target, "source_index": 0, "target_index": 0})
    details = {one["id"]: {k: v for k, v in one.items() if k != "id"} for one in operators}
    dag = {
        "operator_list": list(details),
        "operator_rels": rels,
        "operator_details": details,
    }
    return json.dumps({"dag": dag}, ensure_ascii=False)


def operator(algorithm: str, params: dict[str, Any] | None = None, **extra: Any) -> dict[str, Any]:
    """Describe the operator `a` of a DAG file."""
    return {"id": "a", "algo_name": algorithm, "params": params or {}, **extra}


@dataclass(slots=True)
class Bench:
    """A running service with what the cases need around it.

    `seen` gathers the refusals of the present case; `secrets` must stand in no reply; `ports` are
    those of which URLs may be read by the settings.
    """

    service: RunningService
    watch: Watch
    data: Path
    outside: Path
    secrets: tuple[str, ...]
    ports: tuple[int, ...] = ()
    starts_per_s: float = 0.0
    tokens: dict[str, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    # --- refusals -------------------------------------------------------------------------------

    def refuse(
        self, method: str, path: str, status: int, code: str, **options: Any
    ) -> dict[str, Any]:
        """Send what must be refused without a trace, and give the problem that came."""
        told = f"{method} {path[:200]} -> {status} {code}"
        before = self.watch.look()
        reply = self.send(method, path, **options)
        self.watch.check(before, told)
        assert reply.status_code == status, f"{told}: {reply.status_code} {reply.text[:2000]}"
        problem = self.check_problem(reply, told)
        codes = {problem["code"]} | {error["code"] for error in problem["errors"]}
        assert code in codes, f"{told}: {codes}"
        self.seen.add(f"{status} {code}")
        return problem

    def check_problem(self, reply: requests.Response, told: str) -> dict[str, Any]:
        """Check that a reply is a problem of ours that gives nothing away."""
        assert reply.headers["Content-Type"] == PROBLEM, told
        self.check_silence(reply.text, told)
        problem: dict[str, Any] = reply.json()
        assert problem["status"] == reply.status_code, told
        assert problem["detail"], told
        assert len(reply.content) < 1024 * 1024, told
        return problem

    def check_silence(self, text: str, told: str) -> None:
        """Fail where a text gives away a trace or a secret."""
        for secret in (*_TRACES, *self.secrets):
            assert secret not in text, f"{told}: gives away {secret!r}: {text[:2000]}"

    def refuse_dag(
        self,
        source: str | bytes,
        status: int,
        code: str,
        *,
        media_type: str = YAML,
        at: tuple[int, int] | None = None,
        pointer: str | None = None,
        says: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Post a DAG file that must be refused with a place, and have it checked as well.

        `at` is the line and column, `pointer` the JSON pointer, `says` what the message tells.
        """
        data = source if isinstance(source, bytes) else source.encode()
        headers = {"Content-Type": media_type}
        problem = self.refuse("POST", "/api/v1/runs", status, code, data=data, headers=headers)
        found = [error for error in problem["errors"] if error["code"] == code]
        if status != 413:
            assert found, problem
            assert all(error["line"] and error["column"] for error in found), found
        if at is not None:
            assert at in [(error["line"], error["column"]) for error in found], found
        if pointer is not None:
            assert pointer in [error["pointer"] for error in found], found
        for words in says:
            assert any(words in error["message"] + error["hint"] for error in found), found
        self._check_only(data, headers, status, code)
        return problem

    def _check_only(self, data: bytes, headers: dict[str, str], status: int, code: str) -> None:
        before = self.watch.look()
        reply = self.send("POST", "/api/v1/dags:validate", data=data, headers=headers)
        self.watch.check(before, f"validate: {code}")
        if status == 413:
            assert reply.status_code == 413
            return
        assert reply.status_code == 200, reply.text[:2000]
        checked = reply.json()
        assert checked["valid"] is False
        assert code in {problem["code"] for problem in checked["problems"]}

    # --- what is taken in -----------------------------------------------------------------------

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request as the administrator, or with `token` as somebody else."""
        token = options.pop("token", self.tokens.get("admin", ""))
        headers = dict(options.pop("headers", {}))
        # without one, what the session would send is taken away
        headers.setdefault("Authorization", f"Bearer {token}" if token else None)
        options.setdefault("timeout", 60)
        return self.service.session.request(
            method, self.service.url + path, headers=headers, **options
        )

    def send_raw(self, path: str) -> http.client.HTTPResponse:
        """Get a path exactly as it stands."""
        parts = urlsplit(self.service.url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=20)
        try:
            token = self.tokens.get("admin", "")
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request("GET", path, headers=headers)
            return connection.getresponse()
        finally:
            connection.close()

    def get(self, path: str, **options: Any) -> Any:
        """Get JSON that must be there."""
        reply = self.send("GET", path, **options)
        assert reply.status_code == 200, f"{path}: {reply.status_code} {reply.text[:2000]}"
        return reply.json()

    def start(self, source: str, media_type: str = JSON, **options: Any) -> dict[str, Any]:
        """Start a run that must be taken, at a bounded cost."""
        before = self.watch.look()
        reply = self.send(
            "POST",
            "/api/v1/runs",
            data=source.encode(),
            headers={"Content-Type": media_type},
            **options,
        )
        self.watch.check(before, "POST /api/v1/runs", changes=True)
        assert reply.status_code == 202, f"{reply.status_code} {reply.text[:2000]}"
        run: dict[str, Any] = reply.json()
        return run

    def finish(self, run_id: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait for the end of a run."""
        return self.service.wait_for_run(run_id, timeout_s)

    def see_running(self, run_id: str) -> None:
        """See that a large run is under way; to its end where long tests are asked for."""
        if IS_LONG:
            assert self.finish(run_id, 240)["state"] == "succeeded"
            return
        counts: dict[str, int] = {}

        def look() -> bool:
            counts.update(self.get(f"/api/v1/runs/{run_id}")["tasks"])
            return counts.get("succeeded", 0) >= 20

        wait_until(look, 30, lambda: f"it does not run: {counts}")
        assert self.send("POST", f"/api/v1/runs/{run_id}:cancel").status_code == 202
        assert self.finish(run_id)["state"] == "cancelled"
        self.settle()

    def settle(self) -> None:
        """Wait until what former cases started has come to rest."""
        seen: list[object] = []

        def is_at_rest() -> bool:
            found = self.watch.look()
            seen.append((found.rows, found.files))
            return len(seen) > 10 and all(one == seen[-1] for one in seen[-10:])

        wait_until(is_at_rest, 20)

    def run(self, source: str, media_type: str = JSON) -> str:
        """Have a run succeed, and give its id."""
        run_id: str = self.start(source, media_type)["id"]
        ended = self.finish(run_id)
        assert ended["state"] == "succeeded", self.get(f"/api/v1/runs/{run_id}/tasks")
        return run_id

    def fail_run(self, source: str, reason: str, task: str = "a") -> dict[str, Any]:
        """Have a task fail for a named reason, and give the task."""
        run_id: str = self.start(source)["id"]
        ended = self.finish(run_id)
        found: dict[str, Any] = self.get(f"/api/v1/runs/{run_id}/tasks/{task}") | {"run": run_id}
        assert (ended["state"], found["reason"]) == ("failed", reason), found
        self.seen.add(f"run {reason}")
        return found

    def report(self, run_id: str, task: str = "a") -> Any:
        """Get the report that a task left."""
        return self.get(f"/api/v1/runs/{run_id}/tasks/{task}/outputs/0/content")
