from __future__ import annotations

from pathlib import Path

import pytest

from operator_engine import child_process


def test_long_log_is_moved_aside_and_the_oldest_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "_LOG_LIMIT_BYTES", 3)
    path = tmp_path / "one.log"
    for text in ("first", "second", "third", "fourth", "5"):
        path.write_text(text, encoding="utf-8")
        child_process._rotate(path)
    found = {item.name: item.read_text(encoding="utf-8") for item in tmp_path.iterdir()}
    assert found == {
        "one.log": "5",
        "one.log.1": "fourth",
        "one.log.2": "third",
        "one.log.3": "second",
    }
