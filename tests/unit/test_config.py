"""The configuration as settings file: nothing is lost on the way, nobody else reads it."""

from __future__ import annotations

import os
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
    hold_settings,
    read_settings,
    settings_path,
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
    settings = hold_settings(config)
    try:
        assert read_settings(settings_path(settings)) == config
    finally:
        os.close(settings)
    assert list(tmp_path.iterdir()) == [], "they hold passwords, and lie in memory alone"


def test_a_value_of_the_wrong_type_is_not_taken_from_settings(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"home": "/x", "server": {"port": "eighty"}}')
    with pytest.raises(msgspec.ValidationError, match="port"):
        read_settings(path)
