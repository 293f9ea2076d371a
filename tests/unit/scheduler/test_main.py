"""How a scheduler process begins."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dag_engine.config import Config, hold_settings, settings_path
from dag_engine.scheduler.__main__ import main


@pytest.mark.parametrize("content", [None, "\n"])
def test_without_a_secret_no_scheduler_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    """Its key would be empty, and anybody could make an attempt's token."""
    settings = hold_settings(Config(home=tmp_path, store_url=f"file://{tmp_path}/artifacts"))
    if content is not None:
        (tmp_path / "secret").write_text(content)
    monkeypatch.setattr(sys, "argv", ["scheduler", str(settings_path(settings))])

    with pytest.raises(SystemExit, match="secret holds nothing"):
        main()
    os.close(settings)
