"""What the storage hands out: plain records with aware UTC moments, and what it takes in."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from dag_engine.core.plan import Plan
from executors.base import ArtifactRef, ExecutorOffer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A piece of a list; `next_cursor` leads to the next one and is None at the end."""

    items: list[T]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What makes a repeated request recognisable: the client's key, and a digest of what it asks.

    `operation` is a short word for the call (`start_run`); the digest is hexadecimal, of at most
    64 digits, over everything that the request says.
    """

    key: str
    operation: str
    body_digest: str


# --- definitions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewOperator:
    """An operator of a definition, for the table of operators."""

    operator: str
    algorithm: str
    data_type: str = ""
    family: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class NewEdge:
    """An edge of a definition, for the table of edges."""

    source: str
    source_port: int
    target: str
    target_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDag:
    """A checked definition that is to be stored. `digest` is that of its content; `source` the
    bytes as posted.
    """

    namespace: str = "default"
    name: str = ""
    description: str = ""
    digest: str
    source: bytes
    media_type: str
    operators: list[NewOperator] = field(default_factory=list)
    edges: list[NewEdge] = field(default_factory=list)
    created_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DagVersionRecord:
    """One immutable version of a dag, without its source."""

    dag_id: str
    version: int
    namespace: str
    name: str
    description: str
    digest: str
    media_type: str
    n_operators: int
    n_edges: int
    size_bytes: int
    created_by: str
    created_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DagRecord:
    """A dag with its present version. `etag` (without quotes) changes when that changes."""

    id: str
    namespace: str
    name: str
    created_at: dt.datetime
    updated_at: dt.datetime
    n_versions: int
    current: DagVersionRecord

    @property
    def etag(self) -> str:
        """What `ETag` and `If-Match` carry."""
        return f"{self.current.version}-{self.current.digest[:16]}"


@dataclass(frozen=True, slots=True)
class StoredDag:
    """What became of a post: the dag, and whether dag or version are new."""

    dag: DagRecord
    is_new_dag: bool
    is_new_version: bool


@dataclass(frozen=True, slots=True)
class DagSource:
    """The bytes of a definition as they were posted, and their type."""

    data: bytes
    media_type: str


# --- runs -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run that is to be accepted. `options` is kept for people: what the request asked for.

    `dag_id` and `dag_version` are left out where the definition is stored with it.
    """

    namespace: str = "default"
    dag_id: str = ""
    dag_version: int = 0
    plan: Plan
    name: str = ""
    priority: int = 0
    range_mode: str = "all"
    options: dict[str, Any] = field(default_factory=dict)
    base_run: str | None = None
    created_by: str = ""
    is_internal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run as the api shows it. `tasks` is the number of tasks by state."""

    id: str
    namespace: str
    dag_id: str
    dag_version: int
    name: str
    state: str
    reason_code: str
    reason: str
    priority: int
    range_mode: str
    options: dict[str, Any]
    base_run: str | None
    is_internal: bool
    created_by: str
    n_tasks: int
    tasks: dict[str, int]
    last_seq: int
    created_at: dt.datetime
    started_at: dt.datetime | None
    ended_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class AcceptedRun:
    """An accepted run; `is_new` is false if the idempotency key had made it before."""

    run: RunRecord
    is_new: bool


@dataclass(frozen=True, slots=True)
class RunMark:
    """How far a run is: number of its last event, and its state."""

    last_seq: int
    state: str


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """What an output port holds, and which attempt made it."""

    port: int
    attempt: int
    ref: ArtifactRef


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """A task as the api shows it."""

    run_id: str
    index: int
    operator: str
    algorithm: str
    title: str
    executor: str
    queue: str
    fingerprint: str
    state: str
    reason_code: str
    reason: str
    attempt: int
    engine_id: str | None
    n_failures: int
    n_losses: int
    not_before: dt.datetime | None
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    progress: dict[str, Any] | None
    metrics: dict[str, float]
    outputs: list[OutputRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One try at a task."""

    run_id: str
    index: int
    attempt: int
    state: str
    engine_id: str
    reason_code: str
    message: str
    hint: str
    traceback: str
    queued_at: dt.datetime | None
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    exit_code: int | None
    signal: int | None
    worker: str
    log_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One numbered entry of a run's history; `operator` is None for the run itself."""

    run_id: str
    seq: int
    at: dt.datetime
    kind: str
    operator: str | None
    attempt: int
    from_state: str
    to_state: str
    reason_code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRecord:
    """A command; `result` is empty until the scheduler has consumed it."""

    id: int
    run_id: str
    kind: str
    operator: str | None
    created_by: str
    created_at: dt.datetime
    consumed_at: dt.datetime | None
    result: str


@dataclass(frozen=True, slots=True)
class OpenCounts:
    """Numbers of runs that are not over, and of their tasks, by state."""

    runs: dict[str, int]
    tasks: dict[str, int]


# --- data sets ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDatasetVersion:
    """A version of a data set whose bytes lie at `uri`; `version` was reserved before."""

    namespace: str = "default"
    dataset_id: str
    version: int
    name: str = ""
    uri: str
    format: str = ""
    filename: str = ""
    sha256: str = ""
    size_bytes: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    is_in_place: bool = False
    created_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a worker found in a data set's version: `pending`, `ready` (with schema and preview, any
    JSON values) or `failed` (with the error).
    """

    state: str
    schema: Any = None
    preview: Any = None
    row_count: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersionRecord:
    """One version of a data set. `inspection` tells what a worker found: empty (not asked for),
    `pending`, `ready` or `failed`.
    """

    dataset_id: str
    version: int
    uri: str
    format: str
    filename: str
    sha256: str
    size_bytes: int
    options: dict[str, Any]
    is_in_place: bool
    row_count: int | None
    schema: Any
    inspection: str
    inspection_error: str
    created_by: str
    created_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRecord:
    """A data set with its latest version."""

    id: str
    namespace: str
    name: str
    created_at: dt.datetime
    updated_at: dt.datetime
    latest: DatasetVersionRecord


# --- engines and the service ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """An operator engine as people see it."""

    id: str
    incarnation: str
    url: str
    host: str
    version: str
    slots: int
    labels: dict[str, str]
    executors: list[ExecutorOffer]
    is_alive: bool
    registered_at: dt.datetime
    heartbeat_at: dt.datetime | None
    deregistered_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class ExecutorRecord:
    """An executor that one operator engine offers."""

    engine_id: str
    offer: ExecutorOffer
    is_alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderRecord:
    """Who leads, and whether the lease still runs by the database's clock."""

    epoch: int
    holder: str
    url: str
    lease_until: dt.datetime
    is_leading: bool


_SIGN_LIMIT_S = 20.0
"""A scheduler tells every 5 s that it lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentRecord:
    """A process of the service with its last sign of life; `age_s` by the database's clock."""

    kind: str
    instance: str
    host: str
    pid: int
    version: str
    detail: Any
    started_at: dt.datetime
    heartbeat_at: dt.datetime
    age_s: float

    @property
    def is_live_scheduler(self) -> bool:
        """Whether it is a scheduler that was heard of lately."""
        return self.kind == "scheduler" and self.age_s < _SIGN_LIMIT_S

    @property
    def is_leading(self) -> bool:
        """Whether it said that it leads."""
        return bool(self.detail and self.detail.get("leads"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """An API token; the token itself is never stored, only its SHA-256."""

    id: str
    namespace: str
    name: str
    role: str
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
