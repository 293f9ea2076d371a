"""The configuration as one frozen object; `dag_engine.cli.config_loading` reads it once, at
start.

The processes of the dag engine get it as a settings file: `write_settings` makes one that only
its owner can read, `read_settings` gives back an equal object.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from dag_engine.core.plan import RunDefaults


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The api: where it listens, how many gunicorn workers and threads serve it, what it lets
    in.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 2
    threads: int = 64
    allowed_hosts: tuple[str, ...] = ()
    max_upload_bytes: int = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Where everything is kept. An empty url means SQLite at `<home>/dagengine.db`."""

    url: str = ""
    pool_size: int = 5
    connect_timeout_s: int = 5
    read_timeout_s: int = 30
    lock_wait_timeout_s: int = 5


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """The scheduler: its own address (port 0 = any), leader lease, engine heartbeat and lease, in
    seconds.
    """

    host: str = "127.0.0.1"
    port: int = 0
    leader_lease_s: float = 10.0
    heartbeat_s: float = 2.0
    engine_lease_s: float = 10.0


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """An operator engine: where its main process listens and how it shows itself to the dag
    engine.
    """

    name: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    advertise_url: str = ""
    dag_engine_url: str = ""
    token: str = ""
    slots: int = 0
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExecutorConfig:
    """One executor: `class_path` is `package.module:Class` (empty = by entry point of that
    name).
    """

    name: str
    class_path: str = ""
    data_types: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    slots: int = 0


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """A named queue: at most `limit` of its tasks are handed out at once (None = no limit)."""

    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that is configured. `origins` tells for each dotted key where its value came
    from.
    """

    home: Path
    server: ServerConfig = field(default_factory=ServerConfig)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    executors: dict[str, ExecutorConfig] = field(default_factory=dict)
    queues: dict[str, QueueConfig] = field(default_factory=dict)
    run_defaults: RunDefaults = field(default_factory=RunDefaults)
    store_url: str = ""
    dataset_roots: tuple[str, ...] = ()
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    algorithm_paths: tuple[str, ...] = ()
    origins: dict[str, str] = field(default_factory=dict)


def write_settings(config: Config, path: Path) -> None:
    """Write the configuration for a process to read: JSON, mode 0600, put in place in one move."""
    data = msgspec.json.encode(config, enc_hook=_encode_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file 0600 from the first byte on; it may hold a database password
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def read_settings(path: Path) -> Config:
    """Read what `write_settings` wrote; a damaged file raises `msgspec.ValidationError`."""
    return msgspec.json.decode(path.read_bytes(), type=Config, dec_hook=_decode_path)


def _encode_path(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"a configuration holds no {type(value).__name__}")


def _decode_path(wanted: type, value: object) -> object:
    if issubclass(wanted, Path) and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"a configuration holds no {wanted.__name__}")
