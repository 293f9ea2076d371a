"""A whole operator engine in processes of its own, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from executors.base import Task
from executors.store import ensure_marker, make_file_url
from executors.transport.errors import ConnectionFailedError
from operator_engine.settings import EngineSettings, ExecutorEntry, write_engine_settings
from tests.support.file_executor import FileBackEnd
from tests.support.report_sink import ReportSink
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
FILE_EXECUTOR = "tests.support.file_executor:FileExecutor"


class EngineRig:
    """Starts `python -m operator_engine` against a report sink.

    Its executor `file` is a folder that `back_end` looks into; other entries may be added.
    """

    def __init__(
        self,
        home: Path,
        sink: ReportSink,
        *,
        executors: list[ExecutorEntry] | None = None,
        **fields: Any,
    ) -> None:
        self.home = home
        self.sink = sink
        self.back_end = FileBackEnd(home / "back_end")
        store = home / "artifacts"
        ensure_marker(make_file_url(store))
        own = ExecutorEntry(
            name="file", class_path=FILE_EXECUTOR, options={"folder": str(self.back_end.folder)}
        )
        self.settings = EngineSettings(
            **{
                "engine_id": "rig",
                "home": str(home),
                "dag_engine_url": sink.url,
                "store_url": make_file_url(store),
                "executors": [own] if executors is None else executors,
                "poll_s": 1.0,
                "gather_s": 5.0,
                **fields,
            }
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, until_registered: bool = True) -> None:
        path = self.home / "rig.json"
        write_engine_settings(self.settings, path)
        n_before = len(self.sink.registrations)
        with (self.home / "rig.log").open("ab") as log_file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "operator_engine", str(path)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
                stdout=log_file,
                stderr=log_file,
            )
        if until_registered:
            try:
                wait_until(lambda: len(self.sink.registrations) > n_before, 20, self.read_logs)
            except AssertionError:
                self.stop()
                raise

    def stop(self) -> int:
        """Stop in order; return the exit code."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(20)
        finally:
            self._process.kill()
            self._process.wait()

    def kill_launcher(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def find_pid(self, name: str) -> int:
        return int((self.home / "run" / f"{name}.pid").read_text(encoding="ascii"))

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to one of the processes; return its id."""
        pid = self.find_pid(name)
        os.kill(pid, number)
        return pid

    def wait_new_pid(self, name: str, old_pid: int) -> int:
        """Wait until the process has been started again."""

        def find() -> int:
            try:
                pid = self.find_pid(name)
            except (FileNotFoundError, ValueError):
                return 0
            return pid if pid != old_pid else 0

        return wait_until(find, 10, self.read_logs)

    def read_health(self) -> dict[str, Any]:
        return dict(msgspec.json.decode(self.sink.ask("GET", "/healthz").body))

    def wait_ready(self, *, held: int | None = None) -> None:
        """Wait until all parts are connected, and, if asked for, so many attempts are held."""

        def is_ready() -> bool:
            try:
                health = self.read_health()
            except ConnectionFailedError:
                return False
            n_held = sum(health["held"].values())
            return health["status"] == "ready" and held in (None, n_held)

        wait_until(is_ready, 10, self.read_logs)

    def read_logs(self) -> str:
        folder = self.home / "logs" / "services"
        logs = [self.home / "rig.log", *sorted(folder.glob("*.log"))]
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in logs)


def make_task(number: int = 0, *, attempt: int = 1, executor: str = "file", **fields: Any) -> Task:
    return Task(
        **{
            "attempt_id": f"rrun.{number}.{attempt}",
            "run_id": "rrun",
            "operator": f"op{number}",
            "index": number,
            "attempt": attempt,
            "algorithm": "noop",
            "entry": "tests.support.noop_algorithm:noop",
            "executor": executor,
            **fields,
        }
    )
