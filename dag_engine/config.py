"""The configuration as one frozen object; `dag_engine.cli.config_loading` reads it once, at
start.

The processes of the dag engine read it from a file that lies in memory alone, since passwords and
keys stand in it: `hold_settings` makes one, for processes that inherit its descriptor, and
`read_settings` gives back an equal object.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from dag_engine.core.plan import RunDefaults
from executors.masking import list_connection_secrets

OLD_SETTINGS_FILE = "run/dag_engine_settings.json"
"""Below home: where settings were once left on disk, with the passwords in them."""


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
    max_starts_per_s: float = 500.0
    max_open_runs: int = 20_000


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Where everything is kept. An empty url means SQLite at `<home>/dagengine.db`."""

    url: str = field(default="", repr=False)
    pool_size: int = 10
    connect_timeout_s: int = 5
    read_timeout_s: int = 30
    lock_wait_timeout_s: int = 5


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """The scheduler: its own address (port 0 = any), the URL by which others reach it (empty =
    that address), leader lease, engine heartbeat and lease, in seconds.
    """

    host: str = "127.0.0.1"
    port: int = 0
    advertise_url: str = ""
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
    token: str = field(default="", repr=False)
    slots: int = 0
    stop_grace_s: float = 10.0
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
class SecretsConfig:
    """Where the keys are that seal stored secrets: in `key` (base64, several with commas between
    them; from the environment alone), else in a file; empty `key_file` is `<home>/secret.key`.
    """

    key: str = field(default="", repr=False)
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """After how many days what is old is deleted (None = never), and how often that is looked for,
    in seconds.
    """

    runs_days: float | None = None
    artifacts_days: float | None = None
    logs_days: float | None = None
    orphans_days: float | None = 1.0
    keys_days: float | None = 30.0
    service_log_mb: float = 10.0
    every_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """From where on `/healthz` calls something degraded; None: never."""

    disk_low_percent: float = 10.0
    disk_full_percent: float = 2.0
    database_slow_s: float = 0.5
    unacknowledged_s: float = 60.0
    backup_days: float | None = None


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
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    health: HealthConfig = field(default_factory=HealthConfig)
    run_defaults: RunDefaults = field(default_factory=RunDefaults)
    store_url: str = ""
    dataset_roots: tuple[str, ...] = ()
    private_hosts: tuple[str, ...] = ()
    connections: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    secrets: SecretsConfig = field(default_factory=SecretsConfig)
    algorithm_paths: tuple[str, ...] = ()
    origins: dict[str, str] = field(default_factory=dict)


def list_secrets(config: Config) -> list[str]:
    """List what is secret in a configuration, so that no log shows it."""
    found = [config.engine.token, *config.secrets.key.replace(",", " ").split()]
    if config.database.url:
        found += list_connection_secrets({"url": config.database.url})
    for settings in config.connections.values():
        found += list_connection_secrets(settings)
    return found


def read_secret(home: Path) -> str:
    """Read the installation's secret, by which its processes know each other; empty where there is
    none.
    """
    try:
        return (home / "secret").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def hold_settings(config: Config) -> int:
    """Write the configuration into memory and return the descriptor; `settings_path` tells how a
    process that inherits it names it. It lasts until its last holder has ended.
    """
    descriptor = os.memfd_create("dagengine-settings")
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(msgspec.json.encode(config, enc_hook=_encode_path))
    return descriptor


def settings_path(descriptor: int) -> Path:
    """Name what `hold_settings` holds, for a process that has it open under this number."""
    return Path(f"/proc/self/fd/{descriptor}")


def read_settings(path: Path) -> Config:
    """Read what `hold_settings` wrote; a damaged file raises `msgspec.ValidationError`."""
    return msgspec.json.decode(path.read_bytes(), type=Config, dec_hook=_decode_path)


def _encode_path(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"a configuration holds no {type(value).__name__}")


def _decode_path(wanted: type, value: object) -> object:
    if issubclass(wanted, Path) and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"a configuration holds no {wanted.__name__}")
