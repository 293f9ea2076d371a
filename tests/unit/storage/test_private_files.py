"""Small private files: whole or not there at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from dag_engine.storage.private_files import write_private


def test_a_file_is_private_and_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "first\n", may_replace=False)
    write_private(path, "second\n", may_replace=False)
    assert path.read_text() == "first\n"
    path.chmod(0o644)
    write_private(path, "third\n", may_replace=True)
    assert path.read_text() == "third\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["secret"]


def test_a_file_for_which_there_is_no_room_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(OSError, match="No space left"):
        write_private(tmp_path / "secret", "text\n", may_replace=False)
    assert os.listdir(tmp_path) == []
