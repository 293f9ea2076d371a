from __future__ import annotations

from pathlib import Path

from operator_engine.child_process import trim_log
from operator_engine.launcher import make_child_environment


def test_long_log_is_put_aside_and_the_oldest_dropped(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    for text in ("first", "second", "third", "fourth", "5"):
        path.write_text(text, encoding="utf-8")
        trim_log(path, 3)
    found = {item.name: item.read_text(encoding="utf-8") for item in tmp_path.iterdir()}
    assert found == {
        "one.log": "5",
        "one.log.1": "fourth",
        "one.log.2": "third",
        "one.log.3": "second",
    }


def test_children_do_not_inherit_what_only_the_configuration_reads() -> None:
    environment = {
        "PATH": "/bin",
        "DAGENGINE__DATABASE__URL": "mysql://u:p@h/d",
        "DAGENGINE__SECRETS__KEY": "key",
        "DAGENGINE_TOKEN": "token",
        "DAGENGINE_POOL": "mark",
    }
    assert make_child_environment(environment) == {"PATH": "/bin", "DAGENGINE_POOL": "mark"}
