"""Starts the real services as a user does, finds their processes, and checks that nothing is left.

Every process carries a mark in its environment, so that a test finds what it started even where it
has changed its parent, session or process group.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import requests

from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
MARK = "DAGENGINE_TEST_MARK"
START_S = 40.0
STOP_S = 20.0


@dataclass(slots=True)
class RunningService:
    """A `dagengine serve`, `dag-engine` or `operator-engine` that runs in a process of its own."""

    home: Path
    process: subprocess.Popen[bytes]
    output: Path
    mark: str
    url: str = ""
    output_from: int = 0
    session: requests.Session = field(default_factory=requests.Session)

    def read_output(self) -> str:
        """What it said so far."""
        return self.output.read_bytes()[self.output_from :].decode("utf-8", "replace")

    def find_pids(self) -> dict[str, int]:
        """Process ids by name, as the pid files tell them: `api`, `scheduler`, `engine-main` …"""
        pids = {}
        for path in (self.home / "run").glob("*.pid"):
            # What was killed a moment ago may be tidied up just now.
            with contextlib.suppress(FileNotFoundError):
                if text := path.read_text(encoding="ascii").strip():
                    pids[path.stem] = int(text)
        return pids

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a process by its name; gives its process id."""
        pid = self.find_pids()[name]
        os.kill(pid, number)
        return pid

    def find_processes(self) -> list[str]:
        """All processes that bear the mark, as `pid command`."""
        return find_marked(self.mark)

    def get(self, path: str, **options: Any) -> Any:
        """Get JSON from the API."""
        return self.call("GET", path, **options).json()

    def post(self, path: str, **options: Any) -> Any:
        """Post to the API and get JSON."""
        return self.call("POST", path, **options).json()

    def call(self, method: str, path: str, *, status: int = 0, **options: Any) -> Any:
        """Call the API; `status` is the one expected, 0 any good one."""
        options.setdefault("timeout", 30)
        reply = self.session.request(method, self.url + path, **options)
        is_expected = reply.status_code == status if status else reply.status_code < 400
        assert is_expected, f"{method} {path}: {reply.status_code} {reply.text[:2000]}"
        return reply

    def wait_for_run(self, run_id: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait for the end of a run and give it."""

        def look() -> dict[str, Any] | None:
            run = self.get(f"/api/v1/runs/{run_id}", params={"wait_s": 2})
            return run if run["state"] in {"succeeded", "failed", "cancelled"} else None

        found = wait_until(look, timeout_s, lambda: f"the run goes on: {self.describe()}")
        assert found is not None
        return found

    def describe(self) -> str:
        """What helps to understand a failure: what it said, and the ends of its logs."""
        logs = sorted((self.home / "logs" / "services").glob("*.log"))
        ends = [f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs]
        return "\n".join([self.read_output()[-2000:], *ends])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, and give its exit code; fails where it does not end in time."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {self.describe()}") from None
        finally:
            self.session.close()

    def check_nothing_left(self) -> None:
        """Fail where a process of it is left."""
        wait_until(
            lambda: not self.find_processes(), 5, lambda: f"left behind: {self.find_processes()}"
        )


@contextmanager
def run_serve(
    home: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[RunningService]:
    """Run `dagengine serve` on a free port until the end of the block; ready when it says so."""
    command = ("serve", "--home", str(home), "--port", "0", *arguments)
    with _run(home, command, env) as service:
        _wait_for_line(service, "dagengine is ready: ")
        service.url = read_url(home)
        yield service


@contextmanager
def run_dag_engine(
    home: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    prefix: tuple[str, ...] = (),
) -> Iterator[RunningService]:
    """Run `dagengine dag-engine`; on a free port where the arguments name none.

    `prefix` is put before the command, to run it on another host.
    """
    port = () if "--port" in arguments else ("--port", "0")
    command = ("dag-engine", "--home", str(home), *port, *arguments)
    with _run(home, command, env, prefix) as service:
        _wait_for_line(service, "The dag engine is ready: ")
        service.url = read_url(home)
        yield service


@contextmanager
def run_operator_engine(
    home: Path,
    dag_engine: RunningService,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    prefix: tuple[str, ...] = (),
) -> Iterator[RunningService]:
    """Run `dagengine operator-engine` for a dag engine, and wait until it has registered."""
    command = ("operator-engine", "--home", str(home), "--dag-engine-url", dag_engine.url)
    with _run(home, (*command, *arguments), env, prefix) as service:
        wait_until(
            lambda: _is_registered(service, dag_engine),
            START_S,
            lambda: f"not registered: {service.describe()}",
        )
        service.url = dag_engine.url
        yield service


def dagengine(
    *arguments: str, url: str = "", env: Mapping[str, str] | None = None, timeout_s: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run a command of the program to its end, as in a terminal of its own."""
    environment = make_environment(env)
    if url:
        environment["DAGENGINE_URL"] = url
    return subprocess.run(
        [sys.executable, "-m", "dag_engine.cli", *arguments],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=timeout_s,
    )


def make_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Make an environment in which no setting of the developer's own counts."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("DAGENGINE")
    }
    return environment | dict(extra or {})


def put_algorithms(folder: Path, *modules: ModuleType) -> Path:
    """Put modules of algorithms where a service finds them: in a new folder, which is given."""
    folder.mkdir(parents=True)
    for module in modules:
        shutil.copy(str(module.__file__), folder)
    return folder


def find_marked(mark: str) -> list[str]:
    """Find the living processes that bear a mark, as `pid command`."""
    needle = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if needle in (entry / "environ").read_bytes():
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8")
                found.append(f"{entry.name} {command}")
        except OSError:
            continue  # it has ended, or it is a zombie
    return found


def read_url(home: Path) -> str:
    """Read where the API of a home is."""
    url: str = json.loads((home / "run" / "api.json").read_text(encoding="utf-8"))["url"]
    return url


@contextmanager
def _run(
    home: Path,
    command: tuple[str, ...],
    env: Mapping[str, str] | None,
    prefix: tuple[str, ...] = (),
) -> Iterator[RunningService]:
    service = start_service(home, command, env, prefix)
    try:
        yield service
        service.stop()
        service.check_nothing_left()
    finally:
        kill_service(service)


def start_service(
    home: Path,
    command: tuple[str, ...],
    env: Mapping[str, str] | None = None,
    prefix: tuple[str, ...] = (),
) -> RunningService:
    """Start a service that the caller ends: by `stop`, or by `kill_service`."""
    mark = uuid.uuid4().hex
    home.mkdir(parents=True, exist_ok=True)
    output = home / "output.txt"
    with output.open("ab") as file:
        output_from = file.tell()  # what a former service of this home said stands before
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "dag_engine.cli", *command],
            env=make_environment(env) | {MARK: mark},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    return RunningService(home, process, output, mark, output_from=output_from)


def kill_service(service: RunningService) -> None:
    """Kill a service, where it runs, with all that it has started."""
    service.session.close()
    if service.process.poll() is None:
        service.process.kill()
        service.process.wait()
    _kill_marked(service.mark)


def _kill_marked(mark: str) -> None:
    """Leave nothing behind where a test has failed: only what bears this test's own mark."""
    for line in find_marked(mark):
        try:
            os.kill(int(line.split()[0]), signal.SIGKILL)
        except ProcessLookupError:
            continue


def _wait_for_line(service: RunningService, line: str) -> None:
    def look() -> bool:
        assert service.process.poll() is None, f"it has ended: {service.describe()}"
        return line in service.read_output()

    wait_until(look, START_S, lambda: f"not ready: {service.describe()}")


def _is_registered(service: RunningService, dag_engine: RunningService) -> bool:
    assert service.process.poll() is None, f"it has ended: {service.describe()}"
    path = service.home / "engine_id"
    if not path.exists():
        return False
    engine_id = path.read_text(encoding="ascii").strip()
    engines = dag_engine.get("/api/v1/operator-engines")["items"]
    return any(engine["id"] == engine_id and engine["is_alive"] for engine in engines)
