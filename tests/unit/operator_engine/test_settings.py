from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from operator_engine.errors import SettingsError
from operator_engine.settings import (
    EngineSettings,
    ExecutorEntry,
    read_engine_settings,
    write_engine_settings,
)


def make_settings(**fields: object) -> EngineSettings:
    values = {"engine_id": "e", "home": "/home/e", "dag_engine_url": "http://d", **fields}
    return msgspec.convert(values, EngineSettings)


def test_settings_file_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "run" / "settings.json"
    settings = make_settings(token="geheim", labels={"机房": "北京"})
    write_engine_settings(settings, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "北京" in path.read_text(encoding="utf-8")
    assert read_engine_settings(path) == settings
    assert [p.name for p in path.parent.iterdir()] == ["settings.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "truncated"),
        ('{"engine_id": "e", "home": "h"}', "dag_engine_url"),
        ('{"engine_id": "", "home": "h", "dag_engine_url": "u"}', "`engine_id` is empty"),
        ('{"engine_id": "e", "home": "h", "dag_engine_url": "u", "slots": -1}', "negative"),
        ('{"engine_id": "e", "home": "h", "dag_engine_url": "u", "executors": []}', "no executor"),
        (
            '{"engine_id": "e", "home": "h", "dag_engine_url": "u",'
            ' "executors": [{"name": "a"}, {"name": "a"}]}',
            "'a' is configured twice",
        ),
    ],
)
def test_bad_settings_are_refused_naming_the_file(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"settings\.json") as caught:
        read_engine_settings(path)
    assert said in str(caught.value)


def test_missing_settings_file_is_told() -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_engine_settings(Path("/nowhere/settings.json"))


def test_logs_lie_in_a_local_store_and_else_under_home() -> None:
    local = make_settings(store_url="file:///data/artifacts")
    assert (local.logs_folder(), local.are_logs_in_store()) == ("/data/artifacts/logs", True)
    remote = make_settings(store_url="s3://bucket/artifacts")
    assert (remote.logs_folder(), remote.are_logs_in_store()) == ("/home/e/logs/attempts", False)
    other = make_settings(store_url="file:///data/artifacts", logs="/fast/logs")
    assert (other.logs_folder(), other.are_logs_in_store()) == ("/fast/logs", False)


def test_slots_of_an_executor_are_its_own_or_those_of_the_engine() -> None:
    settings = make_settings(slots=6)
    assert settings.executor_slots(ExecutorEntry(name="a")) == 6
    assert settings.for_executor(ExecutorEntry(name="a", slots=2)).slots == 2
    assert make_settings().engine_slots() >= 2
