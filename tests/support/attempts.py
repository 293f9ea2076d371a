"""A workshop for attempts: makes tasks, runs them in this process, opens what they leave."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from executors.base import ArtifactRef, DatasetRef, ExecutorSettings, Outcome, Task
from executors.runtime.artifacts import ArtifactReader, store_outputs
from executors.runtime.attempt import run_attempt
from executors.runtime.catalogue import find_algorithms
from executors.store import make_attempt_folder


class Workshop:
    """Runs attempts one after the other, each with its own index in one run."""

    def __init__(self, home: Path, store_url: str = "") -> None:
        self.home = home
        self.store_url = store_url or f"file://{home}/artifacts"
        self.settings = ExecutorSettings(
            home=str(home), logs=str(home / "logs"), store_url=self.store_url
        )
        self.told: list[Outcome] = []
        self.is_cancelled = False
        self._n_tasks = 0

    def make_task(self, entry: str, params: dict[str, Any] | None = None, **fields: Any) -> Task:
        """Make a task; `entry` is `module:function`, or a module with one algorithm."""
        if ":" not in entry:
            module = importlib.import_module(entry)
            ((function, _),) = find_algorithms(module)
            entry = f"{entry}:{function}"
        index = self._n_tasks
        self._n_tasks += 1
        return Task(
            attempt_id=f"rtest.{index}.1",
            run_id="rtest",
            operator=f"op{index}",
            index=index,
            attempt=1,
            algorithm=entry.rpartition(":")[2],
            entry=entry,
            params=params or {},
            folder=make_attempt_folder(self.store_url, "rtest", index, 1),
            **fields,
        )

    def run(self, entry: str, params: dict[str, Any] | None = None, **fields: Any) -> Outcome:
        """Make a task and carry it out."""
        return self.run_task(self.make_task(entry, params, **fields))

    def run_task(self, task: Task) -> Outcome:
        return run_attempt(task, self.settings, self.told.append, lambda: self.is_cancelled)

    def succeed(self, entry: str, params: dict[str, Any] | None = None, **fields: Any) -> list[Any]:
        """Carry a task out, expect success, and return its references."""
        outcome = self.run(entry, params, **fields)
        assert outcome.state == "succeeded", (outcome.message, outcome.hint, outcome.traceback)
        return outcome.outputs

    def store(self, value: Any) -> ArtifactRef:
        """Store a value as if an operator had left it."""
        from algorithms.base import Port

        task = self.make_task("tests:none")
        (ref,) = store_outputs(task, [Port("value", "any")], value, lambda: self.home)
        return ref

    def load(self, ref: ArtifactRef) -> Any:
        return ArtifactReader(self.store_url, lambda: self.home).load(ref)


def refer_to_file(path: Path, dataset_id: str = "data", **fields: Any) -> dict[str, DatasetRef]:
    """Return the pinned datasets of a task: one, registered from a file."""
    ref = DatasetRef(
        id=dataset_id,
        version=1,
        uri=f"file://{path}",
        size_bytes=path.stat().st_size,
        **fields,
    )
    return {dataset_id: ref}
