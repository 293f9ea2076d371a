"""Reads the configuration, once, at start: defaults, then a file, the environment and flags.

This is the only place that reads the environment on behalf of the services.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dag_engine.cli.config_keys import check_value, find_key
from dag_engine.cli.config_layers import Layers
from dag_engine.cli.errors import ConfigError
from dag_engine.config import (
    Config,
    DatabaseConfig,
    EngineConfig,
    ExecutorConfig,
    HealthConfig,
    QueueConfig,
    RetentionConfig,
    SchedulerConfig,
    SecretsConfig,
    ServerConfig,
)
from dag_engine.core.names import NAME_RULE, is_name
from dag_engine.core.plan import RunDefaults
from executors.masking import hide_url_passwords

DEFAULT_FILE = Path(__file__).resolve().parents[2] / "config" / "default.yaml"


def load_config(
    file: Path | None = None,
    flags: Mapping[str, tuple[str, Any]] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Load the configuration: default.yaml, `file`, environment, flags; later ones win.

    `flags` maps a dotted key to the flag's name and its value. All problems are told at once, by
    a `ConfigError`.
    """
    layers = Layers()
    layers.add_yaml(DEFAULT_FILE.read_text(encoding="utf-8"), "default.yaml")
    if file is not None:
        layers.add_yaml(_read_file(file), str(file))
    layers.add_environment(os.environ if environment is None else environment)
    layers.add_flags(flags or {})
    problems = [*layers.problems, *_check_values(layers), *_check_names(layers)]
    if problems:
        raise ConfigError(problems)
    return _build(layers)


def _read_file(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{file} cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file} is not UTF-8 text (byte {error.start})"]) from error


def _check_values(layers: Layers) -> list[str]:
    problems = []
    for path, (value, origin) in layers.values.items():
        key = find_key(path)
        if key is None:
            problems.append(f"{origin}: {'.'.join(path)} is not known")
        elif key.kind == "text mapping" and not isinstance(value, str):
            problems.append(f"{origin}: {'.'.join(path)}: expected text, came {value!r}")
        elif not key.is_mapping and (wrong := check_value(key, value)):
            told = wrong.partition(", came")[0] if key.is_secret else hide_url_passwords(wrong)
            problems.append(f"{origin}: {'.'.join(path)}: {told}")
    return problems


def _check_names(layers: Layers) -> list[str]:
    problems = [
        f"{origin}: {'.'.join(path)}: a name has {NAME_RULE}"
        for path, origin in layers.names.items()
        if not is_name(path[1])
    ]
    for key, section in (("queue", "queues"), ("executor", "executors")):
        value, origin = layers.values["run_defaults", key]
        known = sorted(name for head, name in layers.names if head == section)
        if isinstance(value, str) and value not in known:
            problems.append(
                f"{origin}: run_defaults.{key}: {value!r} is none of the {section}: "
                f"{', '.join(known)}"
            )
    return [*problems, *_check_labels(layers), *_check_key(layers)]


def _check_key(layers: Layers) -> list[str]:
    """Refuse a key that stands where it is copied and shown: in a configuration file."""
    value, origin = layers.values["secrets", "key"]
    if not value or origin.startswith("environment "):
        return []
    return [
        f"{origin}: secrets.key: a key is taken from the environment alone "
        "(DAGENGINE__SECRETS__KEY), or from a file of mode 0600 that secrets.key_file names"
    ]


def _check_labels(layers: Layers) -> list[str]:
    """Say where two executors want the same label."""
    problems = []
    chosen: dict[str, str] = {}
    for path, (value, origin) in layers.values.items():
        if path[0] != "executors" or path[-1] != "data_types" or not isinstance(value, list):
            continue
        for label in map(str, value):
            other = chosen.setdefault(label, path[1])
            if other != path[1]:
                problems.append(f"{origin}: {'.'.join(path)}: {label!r} chooses {other!r} already")
    return problems


def _build(layers: Layers) -> Config:
    values = {path: value for path, (value, _) in layers.values.items()}
    home = Path(values[("home",)]).expanduser().absolute()
    return Config(
        home=home,
        server=ServerConfig(**_take(values, "server")),
        database=DatabaseConfig(**_take(values, "database")),
        scheduler=SchedulerConfig(**_take(values, "scheduler")),
        engine=EngineConfig(
            **_take(values, "engine"), labels=_take(values, "engine", "labels", depth=3)
        ),
        executors={
            name: _build_executor(name, values)
            for head, name in layers.names
            if head == "executors"
        },
        queues={
            name: QueueConfig(limit=values.get(("queues", name, "limit")))
            for head, name in layers.names
            if head == "queues"
        },
        retention=RetentionConfig(**_take(values, "retention")),
        health=HealthConfig(**_take(values, "health")),
        run_defaults=_build_run_defaults(values),
        store_url=values["store", "url"] or f"file://{home}/artifacts",
        dataset_roots=tuple(_absolute(root) for root in values["datasets", "roots"]),
        private_hosts=tuple(values["datasets", "private_hosts"]),
        connections={
            name: _take(values, "connections", name, depth=3)
            for head, name in layers.names
            if head == "connections"
        },
        secrets=SecretsConfig(**_take(values, "secrets")),
        algorithm_paths=tuple(_absolute(path) for path in values["algorithms", "paths"]),
        origins={".".join(path): origin for path, (_, origin) in layers.values.items()},
    )


def _build_executor(name: str, values: dict[tuple[str, ...], Any]) -> ExecutorConfig:
    given = _take(values, "executors", name, depth=3)
    return ExecutorConfig(
        name=name,
        class_path=given.get("class", ""),
        data_types=tuple(given.get("data_types", ())),
        options=_take(values, "executors", name, "options", depth=4),
        slots=given.get("slots", 0),
    )


def _build_run_defaults(values: dict[tuple[str, ...], Any]) -> RunDefaults:
    given = _take(values, "run_defaults")
    for key in ("retry_delay_s", "cpu", "timeout_s"):
        given[key] = None if given[key] is None else float(given[key])
    return RunDefaults(**given)


def _take(values: dict[tuple[str, ...], Any], *path: str, depth: int = 2) -> dict[str, Any]:
    """Take the values right below a section; lists become tuples where the object is frozen."""
    taken = {
        key[-1]: value
        for key, value in values.items()
        if len(key) == depth and key[: len(path)] == path
    }
    if path == ("server",):
        taken["allowed_hosts"] = tuple(taken["allowed_hosts"])
    if path == ("scheduler",):
        taken |= {key: float(value) for key, value in taken.items() if key.endswith("_s")}
    return taken


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().absolute())
