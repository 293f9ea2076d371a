"""The configuration: layers, origins, and problems that name their place and the cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from dag_engine.cli.config_loading import load_config
from dag_engine.cli.config_show import list_settings
from dag_engine.cli.errors import ConfigError
from dag_engine.config import Config


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def find_problems(tmp_path: Path, text: str = "", **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text), environment=environment)
    return str(caught.value)


def test_default_file_gives_the_defaults_of_the_object() -> None:
    loaded = load_config(environment={})
    bare = Config(home=loaded.home)
    assert loaded.server == bare.server
    assert loaded.database == bare.database
    assert loaded.scheduler == bare.scheduler
    assert loaded.engine == bare.engine
    assert loaded.run_defaults == bare.run_defaults


def test_known_labels_choose_the_local_executor_and_three_queues_exist() -> None:
    config = load_config(environment={})
    assert config.executors["local"].data_types == ("本地python", "本機python", "local")
    assert list(config.queues) == ["default", "fast", "slow"]


def test_later_layers_win_and_each_value_tells_its_origin(tmp_path: Path) -> None:
    file = write(tmp_path, "server:\n  port: 1\n  workers: 5\n  threads: 9\n")
    environment = {"DAGENGINE__SERVER__PORT": "2", "DAGENGINE__SERVER__WORKERS": "6"}
    config = load_config(file, {"server.port": ("--port", 3)}, environment)
    assert (config.server.port, config.server.workers, config.server.threads) == (3, 6, 9)
    assert config.origins["server.port"] == "flag --port"
    assert config.origins["server.workers"] == "environment DAGENGINE__SERVER__WORKERS"
    assert config.origins["server.threads"] == f"{file}:4"
    assert config.origins["server.host"].startswith("default.yaml:")


def test_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    message = find_problems(tmp_path, "server:\n  prot: 1\n")
    assert "my.yaml:2: server.prot is not known; did you mean server.port?" in message


def test_unknown_variable_is_refused_by_its_own_name(tmp_path: Path) -> None:
    message = find_problems(tmp_path, DAGENGINE__SERVER__PROT="1")
    assert "environment DAGENGINE__SERVER__PROT" in message
    assert "did you mean server.port?" in message


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    message = find_problems(tmp_path, "databse: {}\nserver: {port: x, workers: 0}\n")
    assert "databse is not known; did you mean database?" in message
    assert "server.port: expected a whole number, came 'x'" in message
    assert "server.workers: expected at least 1, came 0" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {port: 1.5}", "expected a whole number"),
        ("server: {port: true}", "expected a whole number"),
        ("server: {port: 65536}", "expected at most 65535"),
        ("server: {port: null}", "came nothing"),
        ("server: 5", "expected a mapping"),
        ("server: [1]", "expected a mapping"),
        ("- 1", "expected a mapping"),
        ("run_defaults: {cache: maybe}", "expected one of use, refresh, off"),
        ("run_defaults: {retry_on: [lostt]}", "expected some of error"),
        ("run_defaults: {timeout_s: .inf}", "expected a number"),
        ("run_defaults: {queue: gpu}", "'gpu' is none of the queues: default, fast, slow"),
        ("run_defaults: {executor: ray}", "'ray' is none of the executors: local"),
        ("datasets: {roots: /data}", "expected a list of texts"),
        ("engine: {labels: {zone: 1}}", "engine.labels.zone: expected text, came 1"),
        ("executors: {ray: {data_types: [local]}}", "'local' chooses 'local' already"),
        ("queues: {'a b': {}}", "a name has letters"),
        ("server: {port: 1, port: 2}", "port stands here a second time"),
        ("server: {port: 1", "not plain YAML"),
        ("server: {host: !!python/name:os.system x}", "could not determine a constructor"),
    ],
)
def test_bad_value_is_refused_with_what_was_expected(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert expected in find_problems(tmp_path, text)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yaml cannot be read: No such file"):
        load_config(tmp_path / "nowhere.yaml", environment={})


def test_lists_and_mappings_come_from_variables(tmp_path: Path) -> None:
    config = load_config(
        environment={
            "DAGENGINE__DATASETS__ROOTS": "/data, s3://bucket/x",
            "DAGENGINE__ENGINE__LABELS": "{zone: a}",
            "DAGENGINE__ENGINE__LABELS__GPU": "2",
            "DAGENGINE__QUEUES__GPU__LIMIT": "2",
            "DAGENGINE__RUN_DEFAULTS__TIMEOUT_S": "null",
            "DAGENGINE__RUN_DEFAULTS__RETRY_ON": "[lost]",
            "DAGENGINE__CONNECTIONS__BANK__URL": "mysql://a:b@c/d",
        }
    )
    assert config.dataset_roots == ("/data", "s3://bucket/x")
    assert config.engine.labels == {"zone": "a", "gpu": "2"}
    assert config.queues["gpu"].limit == 2
    assert config.run_defaults.timeout_s is None
    assert config.run_defaults.retry_on == ["lost"]
    assert config.connections == {"bank": {"url": "mysql://a:b@c/d"}}


def test_a_queue_may_be_named_without_settings(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "queues:\n  gpu:\n  cpu: {}\n"), environment={})
    assert {"gpu", "cpu"} <= set(config.queues)


def test_another_executor_keeps_the_local_one(tmp_path: Path) -> None:
    text = "executors: {mine: {class: 'p.m:C', data_types: [我的平台], options: {a: {b: [1]}}}}"
    config = load_config(write(tmp_path, text), environment={})
    assert set(config.executors) == {"local", "mine"}
    assert config.executors["mine"].class_path == "p.m:C"
    assert config.executors["mine"].options == {"a": {"b": [1]}}


def test_paths_are_absolute_and_the_store_lies_in_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(flags={"home": ("--home", "家")}, environment={})
    assert config.home == tmp_path / "家"
    assert config.store_url == f"file://{tmp_path}/家/artifacts"


def test_shown_configuration_hides_every_secret(tmp_path: Path) -> None:
    text = """
database: {url: 'mysql+pymysql://root:geheim1@db/x'}
engine: {token: geheim2}
connections: {bank: {url: 'mysql://a:geheim3@c/d', password: geheim4}}
executors: {ray: {class: 'a:B', options: {api_token: geheim5, address: 'ray://u:geheim6@h'}}}
store: {url: 's3://key:geheim7@bucket/'}
"""
    shown = list_settings(load_config(write(tmp_path, text), environment={}))
    assert "geheim" not in str(shown)
    values = {row["key"]: row["value"] for row in shown}
    assert values["database.url"] == "mysql+pymysql://root:***@db/x"
    assert values["executors.ray.options.address"] == "ray://u:***@h"
    assert values["connections.bank.password"] == "***"


def test_every_shown_setting_has_an_origin() -> None:
    for row in list_settings(load_config(environment={})):
        assert row["origin"], row
