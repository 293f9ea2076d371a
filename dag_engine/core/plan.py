"""The plan of a run: what will run, with what, after what; pinned when the run is accepted."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from executors.base import ArtifactRef, DatasetRef, Resources


class _Plain(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the plan's parts."""


class PlannedInput(_Plain, frozen=True, kw_only=True):
    """One edge into an input port.

    Either `source` (index of a task of this run) with `source_port`, or an `artifact` of a former
    run.
    """

    source: int | None = None
    source_port: int = 0
    artifact: ArtifactRef | None = None


class PlannedTask(_Plain, frozen=True, kw_only=True):
    """One operator of the run, with everything that its attempts need.

    `alternative` is the index of the task that runs if this one fails for good; `is_alternative`
    marks such a task: it runs only then. `inputs` has a list of edges for every input port.
    `upstream` are the indexes of the tasks that must have succeeded first. `fingerprint` is the
    digest of the algorithm, its code version, its parameters, its datasets' versions and its
    upstreams' fingerprints: equal fingerprints mean that a former result may stand in.
    `connections` and `secrets` are names; what they stand for is looked up when an attempt is sent.
    `work_base` digests all that the cache knows a task by but its inputs and its seed; empty where
    its result is neither kept nor looked up.
    """

    index: int
    operator: str
    algorithm: str
    entry: str
    code_version: str = ""
    title: str = ""
    executor: str = "local"
    params: dict[str, Any] = {}
    inputs: list[list[PlannedInput]] = []
    upstream: list[int] = []
    n_outputs: int = 0
    seed: int = 0
    retries: int = 0
    retry_delay_s: float = 5.0
    retry_on: list[str] = []
    timeout_s: float | None = None
    cache: Literal["use", "refresh", "off"] = "use"
    resources: Resources = Resources()
    labels: dict[str, str] = {}
    priority: int = 0
    queue: str = "default"
    on_failure: Literal["stop", "continue", "alternative"] = "stop"
    alternative: int | None = None
    is_alternative: bool = False
    datasets: dict[str, DatasetRef] = {}
    connections: list[str] = []
    secrets: list[str] = []
    fingerprint: str = ""
    work_base: str = ""


class Reused(_Plain, frozen=True, kw_only=True):
    """An operator outside the range whose former result is used."""

    operator: str
    run_id: str
    attempt: int
    outputs: list[ArtifactRef]


class Plan(_Plain, frozen=True, kw_only=True):
    """All tasks of a run in breadth-first order, and what is reused from former runs."""

    tasks: list[PlannedTask]
    reused: list[Reused] = []


class RunDefaults(_Plain, frozen=True, kw_only=True):
    """What an operator's `run` section leaves open."""

    executor: str = "local"
    retries: int = 0
    retry_delay_s: float = 5.0
    retry_on: list[str] = msgspec.field(default_factory=lambda: ["lost", "killed"])
    timeout_s: float | None = None
    cache: Literal["use", "refresh", "off"] = "use"
    cpu: float = 1.0
    memory_mb: int | None = None
    priority: int = 0
    queue: str = "default"
    on_failure: Literal["stop", "continue"] = "stop"
