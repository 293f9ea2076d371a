"""Files with secrets in them are never seen by others, and never in half."""

import os
from pathlib import Path

import pytest

from executors.private_files import write_private_bytes


def test_only_its_user_reads_it_and_it_takes_the_place_of_a_former_one(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "file"
    for data in (b"first", b"second"):
        write_private_bytes(path, data)
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["file"]


def test_what_cannot_be_written_leaves_nothing_but_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: Path) -> None:
        raise OSError("no space left")

    path = tmp_path / "file"
    write_private_bytes(path, b"first")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no space"):
        write_private_bytes(path, b"second")
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"first"
