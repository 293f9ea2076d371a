"""Flags of the services as values of the configuration."""

from __future__ import annotations

from typing import Any

from dag_engine.cli.errors import UsageError

_FLAGS = {
    "home": ("home", "--home"),
    "database_url": ("database.url", "--database-url"),
    "host": ("server.host", "--host"),
    "port": ("server.port", "--port"),
    "workers": ("executors.local.slots", "--workers"),
    "algorithms": ("algorithms.paths", "--algorithms"),
    "engine_host": ("engine.host", "--host"),
    "engine_port": ("engine.port", "--port"),
    "advertise_url": ("engine.advertise_url", "--advertise-url"),
    "dag_engine_url": ("engine.dag_engine_url", "--dag-engine-url"),
    "token": ("engine.token", "--token"),
    "slots": ("engine.slots", "--slots"),
}


def collect_flags(**given: Any) -> dict[str, tuple[str, Any]]:
    """Collect the flags that were given, by their keys in the configuration."""
    flags: dict[str, tuple[str, Any]] = {}
    for name, value in given.items():
        if value is None or value == ():
            continue
        key, flag = _FLAGS[name]
        flags[key] = (flag, list(value) if isinstance(value, tuple) else value)
    return flags


def collect_labels(labels: tuple[str, ...]) -> dict[str, tuple[str, Any]]:
    """Collect --label k=v."""
    flags: dict[str, tuple[str, Any]] = {}
    for label in labels:
        name, sign, value = label.partition("=")
        if not sign or not name:
            raise UsageError(f"--label {label!r} is not of the form name=value, such as zone=a.")
        flags[f"engine.labels.{name}"] = ("--label", value)
    return flags
