"""What `config show` tells: every value, where it came from, and no secret."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import msgspec

from dag_engine.cli.config_keys import find_key
from dag_engine.config import Config
from executors.masking import MASK, hide_settings

_RENAMED = {
    "store_url": "store.url",
    "dataset_roots": "datasets.roots",
    "private_hosts": "datasets.private_hosts",
    "algorithm_paths": "algorithms.paths",
}


def list_settings(config: Config) -> list[dict[str, Any]]:
    """List `{key, value, origin}` of every setting in the order of the configuration file."""
    rows: list[dict[str, Any]] = []
    for field in fields(config):
        if field.name != "origins":
            _collect(_RENAMED.get(field.name, field.name), getattr(config, field.name), rows)
    for row in rows:
        origin = _find_origin(row["key"], config.origins)
        row["origin"] = origin
        row["value"] = _hide(row["key"], row["value"])
    return rows


def _collect(key: str, value: Any, rows: list[dict[str, Any]]) -> None:
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            if not (key.startswith("executors.") and field.name == "name"):
                name = "class" if field.name == "class_path" else field.name
                _collect(f"{key}.{name}", getattr(value, field.name), rows)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _collect(f"{key}.{name}", getattr(value, name), rows)
    elif isinstance(value, dict) and value:
        for name, item in value.items():
            _collect(f"{key}.{name}", item, rows)
    else:
        rows.append({"key": key, "value": _plain(value)})


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def _find_origin(key: str, origins: dict[str, str]) -> str:
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        if origin := origins.get(".".join(parts[:length])):
            return origin
    return "default"


def _hide(key: str, value: Any) -> Any:
    parts = tuple(key.split("."))
    known = find_key(parts)
    if known is not None and known.is_secret:
        return MASK if value else value
    return hide_settings(value, parts[-1])
