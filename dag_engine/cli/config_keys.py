"""The keys that a configuration may have, with the type and the range of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from executors.base import FailureReason

Kind = Literal["text", "integer", "number", "texts", "mapping", "text mapping"]
Path = tuple[str, ...]

KIND_WORDS: dict[str, str] = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "texts": "a list of texts",
    "mapping": "a mapping",
    "text mapping": "a mapping of texts",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `path` is dotted, with `*` for a name that the user chooses.

    `is_secret` hides its value wherever the configuration is shown.
    """

    path: str
    kind: Kind = "text"
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    is_optional: bool = False
    is_secret: bool = False

    @property
    def parts(self) -> Path:
        """The path as a tuple."""
        return tuple(self.path.split("."))

    @property
    def is_mapping(self) -> bool:
        """Whether the user chooses what stands below this key."""
        return self.kind in {"mapping", "text mapping"}


def _port(path: str) -> Key:
    return Key(path, "integer", 0, 65535)


def _seconds(path: str, kind: Kind = "number") -> Key:
    return Key(path, kind, 1 if kind == "integer" else 0.1, 86_400)


KEYS: tuple[Key, ...] = (
    Key("home"),
    Key("server.host"),
    _port("server.port"),
    Key("server.workers", "integer", 1, 128),
    Key("server.threads", "integer", 8, 4096),
    Key("server.allowed_hosts", "texts"),
    Key("server.max_upload_bytes", "integer", 1024),
    Key("server.max_starts_per_s", "number", 0, 1_000_000),
    Key("server.max_open_runs", "integer", 0),
    Key("database.url"),
    Key("database.pool_size", "integer", 1, 1000),
    _seconds("database.connect_timeout_s", "integer"),
    _seconds("database.read_timeout_s", "integer"),
    _seconds("database.lock_wait_timeout_s", "integer"),
    Key("scheduler.host"),
    _port("scheduler.port"),
    Key("scheduler.advertise_url"),
    _seconds("scheduler.leader_lease_s"),
    _seconds("scheduler.heartbeat_s"),
    _seconds("scheduler.engine_lease_s"),
    Key("engine.name"),
    Key("engine.host"),
    _port("engine.port"),
    Key("engine.advertise_url"),
    Key("engine.dag_engine_url"),
    Key("engine.token", is_secret=True),
    Key("engine.slots", "integer", 0, 100_000),
    Key("engine.stop_grace_s", "number", 0, 86_400),
    Key("engine.labels", "text mapping"),
    Key("executors.*.class"),
    Key("executors.*.data_types", "texts"),
    Key("executors.*.options", "mapping"),
    Key("executors.*.slots", "integer", 0, 100_000),
    Key("queues.*.limit", "integer", 0, is_optional=True),
    *(
        Key(f"retention.{what}_days", "number", 0.001, 100_000, is_optional=True)
        for what in ("runs", "artifacts", "logs", "orphans", "keys")
    ),
    Key("retention.service_log_mb", "number", 0.01, 100_000),
    _seconds("retention.every_s"),
    Key("health.disk_low_percent", "number", 0, 100),
    Key("health.disk_full_percent", "number", 0, 100),
    Key("health.database_slow_s", "number", 0.001, 86_400),
    _seconds("health.unacknowledged_s"),
    Key("health.backup_days", "number", 0.001, 100_000, is_optional=True),
    Key("run_defaults.executor"),
    Key("run_defaults.retries", "integer", 0, 100),
    Key("run_defaults.retry_delay_s", "number", 0, 86_400),
    Key("run_defaults.retry_on", "texts", choices=get_args(FailureReason)),
    Key("run_defaults.timeout_s", "number", 0.1, is_optional=True),
    Key("run_defaults.cache", choices=("use", "refresh", "off")),
    Key("run_defaults.cpu", "number", 0.01, 1024),
    Key("run_defaults.memory_mb", "integer", 1, is_optional=True),
    Key("run_defaults.priority", "integer", -100, 100),
    Key("run_defaults.queue"),
    Key("run_defaults.on_failure", choices=("stop", "continue")),
    Key("store.url"),
    Key("datasets.roots", "texts"),
    Key("datasets.private_hosts", "texts"),
    Key("connections.*", "mapping", is_secret=True),
    Key("secrets.key", is_secret=True),
    Key("secrets.key_file"),
    Key("algorithms.paths", "texts"),
)


def find_key(path: Path) -> Key | None:
    """Find the key that governs `path`: its own, or the mapping that it stands in."""
    for key in KEYS:
        parts = key.parts
        if len(path) < len(parts) or (len(path) > len(parts) and not key.is_mapping):
            continue
        if all(part in ("*", given) for part, given in zip(parts, path, strict=False)):
            return key
    return None


def find_children(path: Path) -> set[str]:
    """Find what may follow `path`; `*` stands for a name that the user chooses."""
    children = set()
    for key in KEYS:
        parts = key.parts
        if len(parts) > len(path) and all(
            part in ("*", given) for part, given in zip(parts, path, strict=False)
        ):
            children.add(parts[len(path)])
    return children


def check_value(key: Key, value: Any) -> str:
    """Say what is wrong with a value, or nothing."""
    if value is None:
        return "" if key.is_optional else f"expected {KIND_WORDS[key.kind]}, came nothing (null)"
    if key.kind == "texts":
        return _check_texts(key, value)
    if not _fits(key.kind, value):
        return f"expected {KIND_WORDS[key.kind]}, came {value!r}"
    if key.choices and value not in key.choices:
        return f"expected one of {', '.join(key.choices)}; came {value!r}"
    return _check_range(key, value)


def _fits(kind: Kind, value: Any) -> bool:
    if kind == "text":
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if kind == "number" else isinstance(value, int)


def _check_texts(key: Key, value: Any) -> str:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return f"expected a list of texts, came {value!r}"
    for item in value:
        if key.choices and item not in key.choices:
            return f"expected some of {', '.join(key.choices)}; came {item!r}"
    return ""


def _check_range(key: Key, value: Any) -> str:
    if key.minimum is not None and not value >= key.minimum:
        return f"expected at least {key.minimum:g}, came {value!r}"
    if key.maximum is not None and not value <= key.maximum:
        return f"expected at most {key.maximum:g}, came {value!r}"
    return ""
