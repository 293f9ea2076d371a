"""The configuration as settings file: nothing is lost on the way, nobody else reads it."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from dag_engine.config import (
    Config,
    DatabaseConfig,
    EngineConfig,
    ExecutorConfig,
    QueueConfig,
    ServerConfig,
    read_settings,
    write_settings,
)
from dag_engine.core.plan import RunDefaults


def make_config(tmp_path: Path) -> Config:
    return Config(
        home=tmp_path / "家",
        server=ServerConfig(port=0, allowed_hosts=("dag.example", "算子.example")),
        database=DatabaseConfig(url="mysql+pymysql://u:geheim@h/d"),
        engine=EngineConfig(labels={"zone": "a", "區": "甲"}),
        executors={
            "local": ExecutorConfig(
                name="local", data_types=("本地python",), options={"x": [1, 2.5, None, {"k": True}]}
            )
        },
        queues={"default": QueueConfig(), "slow": QueueConfig(limit=2)},
        run_defaults=RunDefaults(retries=3, timeout_s=5.5, retry_on=["lost"]),
        connections={"bank": {"url": "mysql://x", "pool": 3}},
        dataset_roots=("/data",),
        origins={"server.port": "flag --port"},
    )


def test_settings_come_back_equal(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    write_settings(config, tmp_path / "run" / "api.json")
    assert read_settings(tmp_path / "run" / "api.json") == config


def test_only_the_owner_reads_settings_also_when_they_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text("old")
    path.chmod(0o644)
    write_settings(make_config(tmp_path), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["settings.json"]


def test_a_value_of_the_wrong_type_is_not_taken_from_settings(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"home": "/x", "server": {"port": "eighty"}}')
    with pytest.raises(msgspec.ValidationError, match="port"):
        read_settings(path)
