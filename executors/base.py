"""The contract between the engines and whatever runs tasks.

Everything that crosses a process boundary is declared here as plain data: the dag engine hands
`Task`s to an operator engine, the operator engine hands them to an executor, and `Outcome`s come
back the same way. The structs encode to JSON with `msgspec.json.encode` and are checked against
their types when decoded.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec

from executors.errors import ExecutorUnavailableError
from executors.facts import EngineFacts
from executors.offers import AlgorithmOffer as AlgorithmOffer
from executors.offers import ExecutorOffer as ExecutorOffer
from executors.offers import PortSpec as PortSpec

INLINE_LIMIT_BYTES = 8 * 1024
"""A report whose JSON is no longer than this travels inside the outcome instead of as a file."""

FailureReason = Literal[
    "error",
    "invalid_input",
    "invalid_output",
    "timeout",
    "out_of_memory",
    "too_many_processes",
    "segfault",
    "exited",
    "killed",
    "lost",
    "quarantined",
    "disk_full",
]
OutcomeKind = Literal["accepted", "started", "progress", "ended"]
EndState = Literal["succeeded", "failed", "cancelled"]


class _Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of every message: immutable, keyword-only, defaults left out of the JSON."""


class Column(_Message, frozen=True, kw_only=True):
    """One column of a table: its name and Arrow type, as text."""

    name: str
    type: str


class ArtifactRef(_Message, frozen=True, kw_only=True):
    """What an output port holds, by reference.

    Parameters
    ----------
    type : str
        `table`, `model`, `report` or `file`.
    uri : str
        Where it lies (an fsspec URL); empty where `inline` carries the value.
    sha256 : str
        Digest of the stored bytes (of the JSON bytes for an inline value).
    size_bytes : int
        Size of the stored bytes.
    rows : int, optional
        Row count of a table.
    columns : list of Column
        Schema of a table.
    inline : Any
        Value of a small report.
    meta : dict
        Facts that the type adds: a model keeps `fitted_on` (the reference of its training table,
        as a dict), `columns`, `target` and `positive_class`.
    """

    type: str
    uri: str = ""
    sha256: str = ""
    size_bytes: int = 0
    rows: int | None = None
    columns: list[Column] = []
    inline: Any = None
    meta: dict[str, Any] = {}


class Resources(_Message, frozen=True, kw_only=True):
    """What a task may use: CPU cores, memory in MiB (None = no limit) and GPUs."""

    cpu: float = 1.0
    memory_mb: int | None = None
    gpu: float = 0.0


class DatasetRef(_Message, frozen=True, kw_only=True):
    """A pinned version of a dataset; with `is_private` the host of its URL may be a private one."""

    id: str
    version: int
    uri: str
    format: str = ""
    sha256: str = ""
    size_bytes: int = 0
    options: dict[str, Any] = {}
    is_private: bool = False


class Task(_Message, frozen=True, kw_only=True):
    """One attempt at one operator of one run: everything that a worker needs to know.

    Parameters
    ----------
    attempt_id : str
        `<run id>.<task index>.<attempt number>`; executors derive their handle from it alone.
    run_id, operator, index, attempt
        The run, the operator's id in the DAG, its index in the plan, and the number of this try
        (from 1).
    algorithm : str
        Name of the algorithm.
    entry : str
        `module:function`, or `/absolute/file.py:function`; loaded in the worker.
    code_version : str
        Declared version and digest of the algorithm's module.
    executor : str
        Name of the executor that is to run it.
    params : dict
        Parameters as the DAG gave them; the worker validates them with the algorithm's model.
    inputs : list of list of ArtifactRef
        For every input port, in port order, what its edges bring; an unconnected port is an empty
        list.
    n_outputs : int
        Number of declared output ports.
    seed : int
        Seed drawn for this task; a repetition gets the same one.
    timeout_s : float, optional
        Seconds from the start after which the executor kills the attempt.
    resources : Resources
        Limits.
    datasets : dict
        Pinned dataset versions, by the id that a parameter names.
    namespace : str
        Whose run it is.
    connections, secrets, sealed : dict, dict, str
        What the connections and secrets that parameters name stand for: sealed until an executor's
        `submit` gets them in plain; on disk they may stand in files of mode 0600 alone.
    folder : str
        fsspec URL of the attempt's own folder in the artifact store (not made yet).
    """

    attempt_id: str
    run_id: str
    operator: str
    index: int
    attempt: int
    algorithm: str
    entry: str
    code_version: str = ""
    executor: str = "local"
    params: dict[str, Any] = {}
    inputs: list[list[ArtifactRef]] = []
    n_outputs: int = 0
    seed: int = 0
    timeout_s: float | None = None
    resources: Resources = Resources()
    datasets: dict[str, DatasetRef] = {}
    namespace: str = "default"
    connections: dict[str, dict[str, Any]] = {}
    secrets: dict[str, str] = {}
    sealed: str = ""
    folder: str = ""

    def __repr__(self) -> str:  # errors and logs show it, and it may hold secrets
        return f"Task(attempt_id={self.attempt_id!r}, algorithm={self.algorithm!r})"


class Progress(_Message, frozen=True, kw_only=True):
    """How far a running task is: `done` of `total` steps (total 0 = unknown), and a sentence."""

    done: float = 0.0
    total: float = 0.0
    message: str = ""


class Outcome(_Message, frozen=True, kw_only=True):
    """What an executor tells of one attempt: that it was accepted, started, moved on, or ended.

    Parameters
    ----------
    attempt_id : str
        The attempt spoken of.
    kind : {"accepted", "started", "progress", "ended"}
        `accepted`: held, not started. Only an `ended` outcome carries a `state`.
    state : {"succeeded", "failed", "cancelled"}, optional
        How it ended.
    reason : str
        A `FailureReason` when it failed, else empty.
    message, hint, traceback : str
        A sentence for people, how to cure it, and the traceback's text where there is one.
    outputs : list of ArtifactRef
        One per output port, in port order, when it succeeded.
    metrics : dict
        What the algorithm recorded with `context.metric`.
    progress : Progress, optional
        Last progress told.
    started_at, ended_at : datetime, optional
        Moments in UTC.
    exit_code, signal : int, optional
        How the worker died, if it died.
    worker, log_bytes : str, int
        Where it ran (host and process id), for people, and the size of its log when it ended.
    is_handed_back : bool
        It is `lost` because its engine was stopped in good order: that counts for nothing.
    has_read_seed : bool
        Whether the result may hang on the seed; false only where the algorithm surely left it.
    """

    attempt_id: str
    kind: OutcomeKind
    state: EndState | None = None
    reason: str = ""
    message: str = ""
    hint: str = ""
    traceback: str = ""
    outputs: list[ArtifactRef] = []
    metrics: dict[str, float] = {}
    progress: Progress | None = None
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    exit_code: int | None = None
    signal: int | None = None
    worker: str = ""
    log_bytes: int = 0
    is_handed_back: bool = False
    has_read_seed: bool = True


class LogChunk(_Message, frozen=True, kw_only=True):
    """A piece of an attempt's log: text from `offset`, where the next piece starts, and whether
    more may come.
    """

    text: str = ""
    offset: int = 0
    next_offset: int = 0
    size_bytes: int = 0
    is_complete: bool = False


class InventoryItem(_Message, frozen=True, kw_only=True):
    """An attempt that an operator engine holds, with its stage."""

    attempt_id: str
    stage: OutcomeKind


class Registration(_Message, frozen=True, kw_only=True):
    """What an operator engine says when it registers; repeated after every restart of its main
    process. `sealing_key` is the public key that secrets for its tasks are sealed with. `number`
    counts those of one incarnation, `epoch` is the last leader's: what was overtaken is refused.
    """

    engine_id: str
    incarnation: str
    number: int = 0
    epoch: int = 0
    url: str
    host: str = ""
    version: str = ""
    labels: dict[str, str] = {}
    slots: int = 1
    executors: list[ExecutorOffer] = []
    algorithms: list[AlgorithmOffer] = []
    catalogue_digest: str = ""
    store_marker: str = ""
    inventory: list[InventoryItem] = []
    sealing_key: str = ""


class RegistrationReply(_Message, frozen=True, kw_only=True):
    """The dag engine's answer: where reports go, how often to beat, tokens of what the engine
    still holds.

    `forget` names attempts of the inventory that are no longer wanted: the engine cancels them.
    `acknowledged` names attempts whose end is stored already: the engine releases them. With
    `is_put_off` it is to register again, with this epoch and what it holds then.
    """

    epoch: int
    is_put_off: bool = False
    reports_url: str
    heartbeat_s: float
    lease_s: float
    tokens: dict[str, str] = {}
    forget: list[str] = []
    acknowledged: list[str] = []


class Heartbeat(_Message, frozen=True, kw_only=True):
    """Sign of life of one incarnation, with what it holds by stage (for people).

    `is_leaving`: it is being stopped and is to be handed nothing more. `has_left`: it has stopped.
    """

    incarnation: str
    held: dict[str, int] = {}
    is_leaving: bool = False
    has_left: bool = False
    facts: EngineFacts = EngineFacts()


class HeartbeatReply(_Message, frozen=True, kw_only=True):
    """`is_known` is false when the engine must register again."""

    is_known: bool
    epoch: int = 0


class DispatchItem(_Message, frozen=True, kw_only=True):
    """A task with the token that its reports must carry. Workers never see the token."""

    task: Task
    token: str


class Dispatch(_Message, frozen=True, kw_only=True):
    """A batch for one operator engine, which refuses an older epoch and a foreign incarnation with
    409. The first one of a new leader says where it takes reports, and may hold nothing else.
    """

    epoch: int
    incarnation: str
    tasks: list[DispatchItem] = []
    cancels: list[str] = []
    reports_url: str = ""


class Report(_Message, frozen=True, kw_only=True):
    """An outcome with the attempt's token."""

    outcome: Outcome
    token: str


class ReportBatch(_Message, frozen=True, kw_only=True):
    """What the monitor process sends: outcomes of one operator engine, repeated until
    acknowledged.
    """

    engine_id: str
    incarnation: str
    reports: list[Report]


VerdictWord = Literal["applied", "duplicate", "stale", "refused"]


class Verdict(_Message, frozen=True, kw_only=True):
    """What became of one report. Every verdict is an acknowledgement: it need not be repeated."""

    attempt_id: str
    kind: OutcomeKind
    verdict: VerdictWord
    message: str = ""


class ReportReply(_Message, frozen=True, kw_only=True):
    """One verdict for each report, in the order of the batch."""

    verdicts: list[Verdict]


class BaseExecutor(ABC):
    """A back end that runs tasks.

    Main, execution process and monitor process of an operator engine each make one from the same
    options, so nothing of a task may live only in the object: the handle is made from the
    attempt's id alone, and any of the three finds the task again, also after a restart.
    Constructors take ``(name: str, options: dict, settings: ExecutorSettings)``, return at once
    and may be called before the back end is up.
    """

    writes_logs_to_folder: ClassVar[bool] = False
    """True where attempts write below `ExecutorSettings.logs`, as `<run id>/<index>.<attempt>.log`.
    Otherwise an ended attempt's log is read by `read_log` before its release, and kept in the
    store.
    """
    most_at_once: ClassVar[int] = 1
    """So many tasks `submit_some` is given at most; cancels wait for its return."""

    @abstractmethod
    def submit(self, task: Task) -> str:
        """Start the task and return its handle at once; the same attempt given twice is started
        once.

        Raises `ExecutorUnavailableError` where the back end cannot be reached: the caller tries
        again.
        """

    @abstractmethod
    def poll(self, timeout_s: float) -> list[Outcome]:
        """Tell what happened to everything that runs under this executor's name.

        Waits up to `timeout_s` seconds, less as soon as there is something to tell. The first poll
        of a new object tells the present stage of all that the back end holds, at once, also where
        that is nothing: the engine takes what was not told then for lost. An end is told again (at
        the latest to the next object) until it is released. `poll` is called from one thread.

        Raises `ExecutorUnavailableError` where a new object has not reached the back end within
        `timeout_s`: the caller tries again.
        """

    @abstractmethod
    def cancel(self, handle: str) -> None:
        """Ask to kill the attempt with all its descendants; never blocks. `poll` tells the end.

        A handle that is not known leaves a mark: a later submit of it ends `cancelled` without
        having run.
        """

    @abstractmethod
    def read_log(self, handle: str, offset: int, limit: int) -> LogChunk:
        """Read up to `limit` bytes of the attempt's stdout and stderr, from byte `offset`."""

    @abstractmethod
    def close(self) -> None:
        """Close this client; what runs goes on."""

    def submit_some(self, tasks: Sequence[Task]) -> list[str | Exception]:
        """Submit several tasks in order; tell of each its handle, or what `submit` raised.

        It ends with the first `ExecutorUnavailableError`: the caller tries the rest again.
        Override it, and raise `most_at_once`, where the back end takes several in one call.
        """
        told: list[str | Exception] = []
        for task in tasks:
            try:
                told.append(self.submit(task))
            except Exception as error:  # noqa: BLE001 - it is told of this task alone
                told.append(error)
                if isinstance(error, ExecutorUnavailableError):
                    break
        return told

    def handle_of(self, attempt_id: str) -> str:
        """Make the handle that `submit` returns from the attempt's id alone; where they differ,
        override it.
        """
        return attempt_id

    def release(self, handles: list[str]) -> None:  # noqa: B027 - an optional hook
        """Forget these ends: they have been acknowledged."""


class ExecutorSettings(_Message, frozen=True, kw_only=True):
    """What every executor is told of the operator engine it belongs to.

    Parameters
    ----------
    home : str
        The operator engine's folder on this machine (sockets, private folders, spool).
    logs : str
        Folder of the attempts' logs: `<logs>/<run id>/<index>.<attempt>.log`.
    store_url : str
        fsspec URL of the artifact store.
    algorithm_paths : list of str
        Extra folders with algorithms.
    slots : int
        How many tasks may run at once (0 = the executor's own default).
    """

    home: str
    logs: str
    store_url: str
    algorithm_paths: list[str] = []
    slots: int = 0
