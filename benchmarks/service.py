"""Starts the real `dagengine serve` as a user does, and ends it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import psutil

from benchmarks.client import BenchmarkError
from benchmarks.processes import measure_tree

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = Path(sys.executable).with_name("dagengine")
_READY_WORDS = "is ready"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0


class Service:
    """A running `dagengine serve` with an own home."""

    def __init__(self, home: Path, database_url: str) -> None:
        self.home = home
        self._database_url = database_url
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        """Process id of the launcher, the root of all its processes."""
        if self._process is None:
            raise BenchmarkError("the service does not run")
        return self._process.pid

    def upgrade_database(self) -> None:
        """Make the tables; on SQLite `serve` does it itself, as part of its start."""
        if self._database_url:
            command = [str(PROGRAM), "db", "upgrade", *self._make_options()]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BenchmarkError(f"db upgrade failed: {done.stderr or done.stdout}")

    def start(self) -> float:
        """Start it; return the seconds until it said that it is ready."""
        command = [str(PROGRAM), "serve", "--port", "0", *self._make_options()]
        command += ["--algorithms", str(ROOT / "benchmarks" / "algorithms")]
        log = self.home.with_suffix(".log")
        began = time.perf_counter()
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                command,
                # What is measured is done each time, and kept as it is for everybody.
                env=os.environ | {"DAGENGINE__RUN_DEFAULTS__CACHE": "refresh"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C reaches the benchmark, which ends it in order
            )
        self._wait_for_ready(log)
        seconds = time.perf_counter() - began
        self.url = json.loads((self.home / "run" / "api.json").read_text())["url"]
        return seconds

    def stop(self) -> None:
        """End it in order, and all of its processes in any case."""
        if self._process is None:
            return
        pids = list(measure_tree(self._process.pid))
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            print(f"the service did not end within {_STOP_TIMEOUT_S:g} s", file=sys.stderr)
            self._process.kill()
            self._process.wait()
        for pid in pids:
            _kill_if_ours(pid, str(self.home))
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    def _wait_for_ready(self, log: Path) -> None:
        process = self._process
        if process is None or process.stdout is None:
            raise BenchmarkError("the service does not run")
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True).start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        line = "-"
        while line and _READY_WORDS not in line:
            try:
                line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = ""
        if not line:
            said = log.read_text()[-2000:]
            self.stop()
            raise BenchmarkError(f"serve did not become ready within 60 s; it said:\n{said}")

    def _make_options(self) -> list[str]:
        options = ["--home", str(self.home)]
        if self._database_url:
            options += ["--database-url", self._database_url]
        return options


def _read_lines(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    """Pass lines on until the end, so that the service is never held up by a full pipe."""
    try:
        for line in stream:
            lines.put(line)
    except ValueError:
        pass  # closed while reading: the service has been ended
    lines.put("")


def _kill_if_ours(pid: int, home: str) -> None:
    """Kill a process that outlived the service; its number may belong to another one by now."""
    try:
        process = psutil.Process(pid)
        if home in " ".join(process.cmdline()):
            process.kill()
    except psutil.Error:
        pass
