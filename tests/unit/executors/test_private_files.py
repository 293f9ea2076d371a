"""Files with secrets in them are never seen by others, and never in half."""

import errno
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
        path.chmod(0o644)
    assert os.listdir(path.parent) == ["file"]


def test_one_that_is_there_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private_bytes(path, b"first", may_replace=False)
    assert path.stat().st_mode & 0o777 == 0o600
    write_private_bytes(path, b"second", may_replace=False)
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["secret"]


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


def test_one_that_is_to_last_is_synced_before_it_is_seen_and_leaves_nothing_without_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(OSError, match="No space left"):
        write_private_bytes(tmp_path / "secret", b"text", may_replace=False, is_lasting=True)
    assert os.listdir(tmp_path) == []
    write_private_bytes(tmp_path / "passing", b"text")  # one that need not last is not synced
