"""S40 to S45, S49: reports that are not what they say, and what operators could steal."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from dag_engine.scheduler.tokens import AttemptTokens
from tests.support.bad_input.bench import JSON, Bench, operator, write_dag
from tests.support.bad_input.registry import case
from tests.support.waiting import wait_until

VALUE = {"type": "report", "inline": {"forged": True}}


class Forger:
    """Reports on the attempts of one waiting run, with whatever token."""

    def __init__(self, bench: Bench, **section: Any) -> None:
        self.bench = bench
        self.folder = bench.outside / "gate"
        self.folder.mkdir()
        waiting = operator("bad_wait", {"folder": str(self.folder)}, run=section)
        after = operator("bad_echo") | {"id": "b"}
        self.run_id = bench.start(write_dag(waiting, after, edges=[("a", "b")]))["id"]
        self.await_attempt(1)

    def await_attempt(self, number: int) -> None:
        """Wait until an attempt of `a` runs."""
        path = f"/api/v1/runs/{self.run_id}/tasks/a"

        def runs() -> bool:
            task = self.bench.get(path)
            return bool(task["state"] == "running" and task["attempt"] == number)

        wait_until(runs, 30)

    def attempt_id(self, number: int = 1, index: int = 0) -> str:
        """Name an attempt of this run."""
        return f"{self.run_id}.{index}.{number}"

    def token(self, attempt_id: str) -> str:
        """Make the right token of an attempt; the suite knows the installation's secret."""
        return AttemptTokens(self.bench.secrets[0]).make(attempt_id)

    def report(self, attempt_id: str, token: str | None = None, **outcome: Any) -> str:
        """Report an end, and give the verdict."""
        fields = {"kind": "ended", "state": "succeeded", "outputs": [VALUE]} | outcome
        batch = {
            "engine_id": "forger",
            "incarnation": "one",
            "reports": [
                {
                    "outcome": {"attempt_id": attempt_id, **fields},
                    "token": self.token(attempt_id) if token is None else token,
                }
            ],
        }
        reply = self.bench.send("POST", "/internal/v1/reports", json=batch)
        assert reply.status_code == 200, reply.text
        self.bench.check_silence(reply.text, "report")
        (verdict,) = reply.json()["verdicts"]
        return str(verdict["verdict"])

    def expect(self, word: str, attempt_id: str, token: str | None = None, **outcome: Any) -> None:
        """Report, and expect a verdict."""
        assert self.report(attempt_id, token, **outcome) == word
        self.bench.seen.add(f"200 {word}")

    def task(self, name: str = "a") -> dict[str, Any]:
        """Get a task of the run."""
        found: dict[str, Any] = self.bench.get(f"/api/v1/runs/{self.run_id}/tasks/{name}")
        return found

    def end(self) -> dict[str, Any]:
        """Let the worker go on, and wait for the end of the run."""
        (self.folder / "go").touch()
        run = self.bench.finish(self.run_id)
        self.bench.settle()
        (self.folder / "go").unlink()
        self.folder.rmdir()
        return run


@case(
    40,
    "A report without a token, with that of another attempt or run, or with an API token",
    "200 refused",
    "401 token_missing",
    about="the state is unchanged",
)
def forged_reports(bench: Bench) -> None:
    """Refused by the token of the attempt; the API asks for one of its own besides."""
    forger = Forger(bench)
    mine = forger.attempt_id()
    others = [forger.token(forger.attempt_id(2)), forger.token("rother.0.1")]
    known = [bench.tokens["admin"], bench.secrets[0], forger.token(mine)[:-1]]
    for token in ("", "x", *others, *known):
        forger.expect("refused", mine, token)
    for odd in ("", "x", "a.b.c", f"{forger.run_id}.99.1", f"{forger.run_id}.-1.1", "\x00.0.1"):
        forger.expect("refused", odd, "x")
    batch = {"json": {"engine_id": "e", "incarnation": "i", "reports": []}, "token": ""}
    bench.refuse("POST", "/internal/v1/reports", 401, "token_missing", **batch)
    assert forger.task()["state"] == "running"
    assert forger.end()["state"] == "succeeded"
    assert bench.report(forger.run_id) == {"waited": True}


@case(41, "A good report, 100 times at once", "200 applied", "200 duplicate")
def replayed_reports(bench: Bench) -> None:
    """Applied once."""
    forger = Forger(bench)
    words: list[str] = []

    def replay() -> None:
        words.extend(forger.report(forger.attempt_id()) for _ in range(25))

    threads = [threading.Thread(target=replay) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(words) == {"applied": 1, "duplicate": 99}
    bench.seen |= {f"200 {word}" for word in words}
    assert forger.end()["state"] == "succeeded"
    events = bench.get(f"/api/v1/runs/{forger.run_id}/events")["items"]
    ends = [one for one in events if one["operator"] == "a" and one["to"] == "succeeded"]
    assert len(ends) == 1
    assert bench.report(forger.run_id) == {"forged": True}


@case(
    42,
    "The success of an attempt that was given up, after the next one began; of one yet to come",
    "200 duplicate",
    "200 stale",
    about="recorded, not applied; the artifact of the later attempt counts",
)
def stale_reports(bench: Bench) -> None:
    """Acknowledged, so that it is not repeated."""
    forger = Forger(bench, retries=1, retry_on=["error"], retry_delay_s=0)
    failed = {"state": "failed", "reason": "error", "message": "given up", "outputs": []}
    assert forger.report(forger.attempt_id(1), **failed) == "applied"
    forger.await_attempt(2)
    forger.expect("duplicate", forger.attempt_id(1))
    forger.expect("stale", forger.attempt_id(3))
    assert (forger.task()["state"], forger.task()["attempt"]) == ("running", 2)
    assert forger.end()["state"] == "succeeded"
    assert bench.report(forger.run_id) == {"waited": True}


@case(
    43,
    "A failure after the success, a report on a cancelled run, on a task that has not begun",
    "200 duplicate",
    "200 stale",
    about="final states never change",
)
def late_reports(bench: Bench) -> None:
    """Acknowledged, and nothing more."""
    forger = Forger(bench)
    forger.expect("stale", forger.attempt_id(1, index=1))
    assert forger.task("b")["state"] == "pending"
    assert forger.report(forger.attempt_id()) == "applied"
    failed = {"state": "failed", "reason": "error", "message": "no", "outputs": []}
    forger.expect("duplicate", forger.attempt_id(), **failed)
    assert forger.task()["state"] == "succeeded"
    assert forger.end()["state"] == "succeeded"
    cancelled = Forger(bench)
    assert bench.send("POST", f"/api/v1/runs/{cancelled.run_id}:cancel").status_code == 202
    assert cancelled.end()["state"] == "cancelled"
    cancelled.expect("stale", cancelled.attempt_id())
    assert cancelled.task()["state"] == "cancelled"


@case(
    44,
    "A report that claims outputs which were not declared, lie elsewhere, have no digest or 5 GB",
    "run invalid_output",
    "410 artifact_gone",
    about="the attempt fails; what was never written is not served",
)
def claimed_outputs(bench: Bench) -> None:
    """Refused before anybody is led there."""
    store = f"file://{bench.service.home}/artifacts"
    good = {"type": "file", "size_bytes": 10, "sha256": "0" * 64}
    for outputs in (
        [VALUE, VALUE],
        [good | {"uri": "file:///etc/passwd"}],
        [good | {"uri": f"{store}/runs/other/0/1/0.bin"}],
        [good | {"uri": f"{store}/runs/RUN/0/1/../../../../../../etc/passwd"}],
        [good | {"uri": f"{store}/runs/RUN/0/1/0.bin", "sha256": "none"}],
        [good | {"uri": "http://169.254.169.254/latest"}],
        [{"type": "file"}],
    ):
        forger = Forger(bench)
        claimed = json.loads(json.dumps(outputs).replace("RUN", forger.run_id))
        assert forger.report(forger.attempt_id(), outputs=claimed) == "applied"
        assert forger.end()["state"] == "failed"
        task = forger.task()
        assert (task["state"], task["reason"]) == ("failed", "invalid_output"), task
        bench.seen.add(f"run {task['reason']}")
    forger = Forger(bench)
    large = good | {"uri": f"{store}/runs/{forger.run_id}/0/1/0.bin", "size_bytes": 5 << 30}
    assert forger.report(forger.attempt_id(), outputs=[large]) == "applied"
    forger.end()
    path = f"/api/v1/runs/{forger.run_id}/tasks/a/outputs/0/content"
    bench.refuse("GET", path, 410, "artifact_gone")


@case(
    45,
    "An operator that looks for tokens and passwords in environments and folders",
    about="workers have none; private folders have mode 0700, files of secrets 0600",
)
def curious_operators(bench: Bench) -> None:
    """Finds nothing in its own surroundings; see SECURITY.md for users of their own."""
    run_id = bench.run(write_dag(operator("bad_look")))
    found = bench.report(run_id)
    assert found["workdir_mode"] == "0o700"
    shown = json.dumps(found)
    token = AttemptTokens(bench.secrets[0]).make(f"{run_id}.0.1")
    for secret in (*bench.secrets, token, ENVIRONMENT_CANARY):
        assert secret not in shown, secret
    assert not [name for name in found["own"] if name.startswith("DAGENGINE__")]
    for name in ("secret", "secret.key", "run", "spool", "work"):
        path = bench.service.home / name
        if path.exists():
            assert path.stat().st_mode & 0o077 == 0, (name, oct(path.stat().st_mode))


ENVIRONMENT_CANARY = "canary-of-the-environment-4711"
"""Stands in a variable of the service's own environment, as a database's password would."""
SECRET_CANARY = "canary-of-a-secret-0815"


@case(
    49,
    "A secret that an operator is given: in a connection, in its error, in its log",
    "run invalid_input",
    about="masked wherever it comes out",
)
def secrets_in_the_open(bench: Bench) -> None:
    """Looked for in every answer, log, event and file of the home."""
    url = f"mysql+pymysql://user:{SECRET_CANARY}@127.0.0.1:1/none"
    made = bench.send("POST", "/api/v1/connections", json={"name": "sealed", "url": url})
    assert made.status_code in (200, 201), made.text
    asked = {"connection": "sealed", "table": "t"}
    task = bench.fail_run(write_dag(operator("algo_read_sql_table", asked)), "invalid_input")
    run = f"/api/v1/runs/{task['run']}"
    bench.settle()
    for path in (
        run, f"{run}/tasks", f"{run}/tasks/a", f"{run}/events", f"{run}/tasks/a/attempts/1/log",
        "/api/v1/connections", "/api/v1/runs", "/healthz", "/metrics", "/api/v1/operator-engines",
    ):  # fmt: skip
        assert SECRET_CANARY not in bench.send("GET", path).text, path
    bench.refuse(
        "POST", "/api/v1/connections", 422, "bad_body",
        data=json.dumps({"name": "x y", "url": url}), headers={"Content-Type": JSON},
    )  # fmt: skip
    bench.seen.discard("422 bad_body")
    for place in _find_in_files(bench.service.home, SECRET_CANARY.encode()):
        raise AssertionError(f"the secret stands in {place}")


def _find_in_files(folder: Path, needle: bytes) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and needle in path.read_bytes()
    ]
