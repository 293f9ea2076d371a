"""What the local executor can be told, and what it tells its supervisor."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, Literal

import msgspec

from executors.base import ExecutorSettings, Resources
from executors.local.cgroups import Cages
from executors.local.errors import LocalOptionsError
from executors.local.pens import Pens

DEFAULT_PRELOAD = (
    "pydantic.main",
    "pydantic.fields",
    "pydantic.json_schema",
    "pydantic.functional_validators",
    "threadpoolctl",
    "numpy",
    "numpy.random",
    "pandas",
    "pyarrow",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.ipc",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "scipy.sparse",
    "scipy.stats",
    "sklearn.base",
    "sklearn.cluster",
    "sklearn.compose",
    "sklearn.decomposition",
    "sklearn.ensemble",
    "sklearn.feature_selection",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.naive_bayes",
    "sklearn.neighbors",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "sklearn.svm",
    "sklearn.tree",
    "skops.io",
    "algorithms.base",
    "executors.runtime.attempt",
)


class LocalOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a local executor.

    Parameters
    ----------
    workers : int
        How many tasks run at once; 0 = the engine's slots, else two per core.
    preload : list of str
        Modules that a worker has imported before its first task; empty = none.
    memory_mb : int, optional
        Memory limit in MiB of a task that names none; None = no limit.
    max_processes : int
        How many processes and threads an attempt may have at once, its worker included; 0 = 16 per
        core, and 256 at least.
    max_open_files : int
        How many files each process of an attempt may have open.
    cgroups : str
        `auto`: the kernel keeps limits of memory and processes where cgroups can be made; `off`:
        they are kept by watching alone.
    max_tasks_per_worker : int
        A worker is replaced after so many tasks.
    max_growth_mb : int
        A worker is replaced, between two tasks, when it holds so much more memory (MiB) than when
        it was new.
    log_limit_bytes : int
        The log of an attempt is cut at this size.
    kill_grace_s : float
        Seconds between SIGTERM and SIGKILL on cancel and timeout.
    start_report_s : float
        A start is reported by itself only when the attempt still runs after so many seconds.
    """

    workers: int = 0
    preload: list[str] = msgspec.field(default_factory=lambda: list(DEFAULT_PRELOAD))
    memory_mb: int | None = None
    max_processes: int = 0
    max_open_files: int = 4096
    cgroups: Literal["auto", "off"] = "auto"
    max_tasks_per_worker: int = 2000
    max_growth_mb: int = 512
    log_limit_bytes: int = 64 * 1024 * 1024
    kill_grace_s: float = 0.5
    start_report_s: float = 0.05

    @property
    def process_limit(self) -> int:
        """How many processes and threads an attempt may have at once."""
        return self.max_processes or max(256, 16 * (os.cpu_count() or 1))

    def memory_limit_mb(self, resources: Resources) -> int | None:
        """Memory limit of a task with these resources; None = no limit."""
        return resources.memory_mb or self.memory_mb


_LOWEST: dict[str, float] = {
    "workers": 0,
    "memory_mb": 1,
    "max_processes": 0,
    "max_open_files": 64,
    "max_tasks_per_worker": 1,
    "max_growth_mb": 1,
    "log_limit_bytes": 1024,
    "kill_grace_s": 0,
    "start_report_s": 0,
}


def read_options(executor: str, options: dict[str, Any]) -> LocalOptions:
    """Check the options as configured. Raises `LocalOptionsError` naming the wrong one."""
    cgroups = options.get("cgroups", "auto")
    if cgroups is False:  # what YAML makes of off without quotes
        options = {**options, "cgroups": "off"}
    elif cgroups not in ("auto", "off"):
        raise LocalOptionsError(executor, f"cgroups must be auto or off, not {cgroups!r}.")
    try:
        checked = msgspec.convert(options, LocalOptions)
    except msgspec.ValidationError as error:
        known = ", ".join(LocalOptions.__struct_fields__)
        raise LocalOptionsError(executor, f"{error}. Known options: {known}.") from error
    for name, lowest in _LOWEST.items():
        value = getattr(checked, name)
        if value is not None and value < lowest:
            raise LocalOptionsError(executor, f"{name} must be at least {lowest:g}, not {value}.")
    return checked


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a pool supervisor reads from its settings file.

    `runner` is the worker-side function that runs one attempt, `module:function`; tests name
    another. `cages` and `pens` are not in the file: the supervisor finds them at its start.
    """

    name: str
    options: LocalOptions
    executor: ExecutorSettings
    runner: str = "executors.runtime.attempt:run_attempt"
    cages: Cages | None = None
    pens: Pens | None = None

    @property
    def n_slots(self) -> int:
        """How many tasks run at once."""
        return self.options.workers or self.executor.slots or 2 * (os.cpu_count() or 1)


def _file_name(executor: str) -> str:
    safe = re.sub(r"[^\w.-]", "_", executor)
    if safe == executor and len(os.fsencode(safe)) <= 100:
        return safe
    digest = hashlib.sha256(executor.encode()).hexdigest()[:12]
    return f"{safe[:30]}-{digest}"


class PoolPaths:
    """Where the files of one pool lie."""

    def __init__(self, home: str, executor: str) -> None:
        name = _file_name(executor)
        home = os.path.abspath(home)
        self.pool = name
        self.run = os.path.join(home, "run")
        self.spool = os.path.join(home, "spool")
        self.work = os.path.join(home, "work")
        self.settings = os.path.join(self.run, f"pool-{name}.json")
        self.socket = os.path.join(self.run, f"pool-{name}.sock")
        self.lock = os.path.join(self.run, f"pool-{name}.lock")
        self.journal = os.path.join(self.spool, f"{name}.journal")


def log_path(logs: str, attempt_id: str) -> str:
    """Path of an attempt's log; its id is `<run id>.<index>.<attempt>`."""
    run_id, _, rest = attempt_id.partition(".")
    return os.path.join(logs, run_id, f"{rest}.log")
