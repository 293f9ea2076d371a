"""Everyone who runs the same graphs: the engine over HTTP, and others in processes of their own."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from typing import Any, Protocol

import yaml

from benchmarks.client import ApiClient, BenchmarkError
from benchmarks.graphs import Case, make_cases, make_dag_file
from benchmarks.service import ROOT, Service
from benchmarks.work import RESULTS

_RUN_TIMEOUT_S = 300.0


class Contender(Protocol):
    """Runs a case and tells how many seconds it took."""

    name: str

    def run(self, case: Case) -> float:
        """Return the seconds from the start to the last result."""

    def close(self) -> None:
        """End what was started for it."""


class EngineContender:
    """The engine: DAG files are posted over HTTP, and their runs are awaited over HTTP."""

    def __init__(self, name: str, service: Service, file_format: str) -> None:
        self.name = name
        self.service = service
        self._format = file_format
        self._client = ApiClient(service.url)
        self._numbers = itertools.count(1)

    def run(self, case: Case) -> float:
        """Post all graphs at once; raises `BenchmarkError` unless every task succeeded."""
        seconds, _ = self._run(case)
        return seconds

    def check_results(self, case: Case) -> None:
        """Run a case and compare what its sinks hold with what their algorithms compute."""
        _, runs = self._run(case)
        sinks = {sink.name: sink for graph in case.graphs for sink in graph.find_sinks()}
        for run in runs:
            for sink in sinks.values():
                path = f"/api/v1/runs/{run['id']}/tasks/{sink.name}/outputs/0/content"
                content = self._client.get(path)
                if content != RESULTS[sink.algorithm]:
                    raise BenchmarkError(f"{path} holds {content}")

    def close(self) -> None:
        """Close the connections; the service goes on."""
        self._client.close()

    def _run(self, case: Case) -> tuple[float, list[dict[str, Any]]]:
        files = [
            make_dag_file(graph, f"benchmark {case.name} {next(self._numbers)}")
            for graph in case.graphs
        ]
        bodies, content_type = encode_files(files, self._format)
        seconds, runs = self._client.run_files(bodies, content_type, _RUN_TIMEOUT_S)
        for run in runs:
            if run["state"] != "succeeded":
                raise BenchmarkError(f"run {run['id']} of {case.name} {run['state']}: {run}")
        n_succeeded = sum(run["tasks"].get("succeeded", 0) for run in runs)
        if n_succeeded != case.n_tasks:
            raise BenchmarkError(f"{n_succeeded} of {case.n_tasks} tasks of {case.name} succeeded")
        return seconds, runs


def encode_files(files: list[dict[str, Any]], file_format: str) -> tuple[list[bytes], str]:
    """Encode DAG files as `json` or `yaml`, before any clock runs."""
    if file_format == "json":
        return [json.dumps(file, ensure_ascii=False).encode() for file in files], "application/json"
    texts = [yaml.safe_dump(file, allow_unicode=True, sort_keys=False) for file in files]
    return [text.encode() for text in texts], "application/yaml"


class ChildContender:
    """A contender in a process of its own, so that none shares an interpreter with another."""

    def __init__(self, kind: str, n_workers: int, *, is_quick: bool) -> None:
        self.name = kind
        self._suffix = " quick" if is_quick else ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", kind, str(n_workers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            start_new_session=True,  # Ctrl-C reaches the benchmark, which ends it in order
        )
        first = self._read()
        self.missing = str(first.get("missing", ""))
        self.version = str(first.get("version", ""))
        if self.missing:
            self.close()

    def run(self, case: Case) -> float:
        """Have the process run a case and check its results."""
        if self._process.stdin is None:
            raise BenchmarkError(f"{self.name} does not run")
        self._process.stdin.write(f"{case.name}{self._suffix}\n")
        self._process.stdin.flush()
        return float(self._read()["seconds"])

    def close(self) -> None:
        """Let the process end by the end of its input."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise BenchmarkError(f"{self.name} ended; what it said stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def make_warm_up_case() -> Case:
    """Make a small case that starts every worker before anything is measured."""
    return make_cases(is_quick=True)["wide"]
