"""Outputs appear whole or not at all, whatever the disk answers to a write or a sync."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executors.runtime import staging, writeback
from executors.runtime.staging import DigestingFile, StagedFolder
from tests.support.call_recorder import record_file_calls

Fail = Callable[[str, int, int], list[Any]]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Let the n-th call of a function of `os` fail with an error; gives the list of its calls."""

    def make(name: str, number: int, code: int) -> list[Any]:
        original = getattr(os, name)
        calls: list[Any] = []

        def call(*arguments: Any) -> Any:
            calls.append(_describe(arguments[0]))
            if len(calls) == number:
                raise OSError(code, os.strerror(code))
            return original(*arguments)

        monkeypatch.setattr(staging.os, name, call)
        return calls

    return make


def _describe(argument: Any) -> str:
    return os.readlink(f"/proc/self/fd/{argument}") if isinstance(argument, int) else str(argument)


def store(folder: Path) -> None:
    """Store two outputs, as an attempt does."""
    staged = StagedFolder(f"file://{folder}", lambda: folder.parent)
    try:
        for name in ("0", "1"):
            file = staged.create_file(name)
            try:
                file.write(b"x" * 100_000)
            finally:
                file.close()
        staged.commit()
    finally:
        staged.discard()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(("name", "n_calls"), [("fsync", 4), ("rename", 1)])
def test_whichever_call_fails_nothing_is_left_and_nothing_is_synced_twice(
    tmp_path: Path, fail: Fail, name: str, n_calls: int, code: int
) -> None:
    for number in range(1, n_calls + 1):
        folder = tmp_path / f"{number}" / "attempt"
        folder.parent.mkdir()
        calls = fail(name, number, code)
        is_committed = name == "fsync" and number == n_calls  # only the parent was left to sync
        with pytest.raises(OSError, match=os.strerror(code)):
            store(folder)
        assert [path.name for path in folder.parent.iterdir()] == ["attempt"] * is_committed
        assert len(calls) == len(set(calls)), "a file whose sync failed was synced again"


def test_the_disk_gets_a_large_file_while_it_is_written_and_the_sync_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[int, int]] = []
    monkeypatch.setattr(
        writeback, "begin_writeback", lambda _fd, start, size: begun.append((start, size))
    )
    recorded = record_file_calls(monkeypatch)
    file = DigestingFile(tmp_path / "large")
    file.write(bytes(5))
    for _ in range(3):
        file.write(bytes(7 << 20))
    assert begun[0][0] == 0
    assert all(start == sum(size for _, size in begun[:i]) for i, (start, size) in enumerate(begun))
    assert 16 << 20 <= sum(size for _, size in begun) <= file.size_bytes
    assert recorded.when_synced(tmp_path / "large") == []
    file.close()
    assert recorded.when_synced(tmp_path / "large", 5 + 3 * (7 << 20))


def test_write_that_is_cut_short_is_continued_and_one_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ShortFile:
        def __init__(self, path: Path, mode: str, buffering: int) -> None:
            self._file = open(path, mode, buffering=buffering)  # noqa: SIM115 - closed by close
            self._n_left = 150_000

        def write(self, data: memoryview) -> int:
            if self._n_left <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            n_written = self._file.write(data[: min(70_000, self._n_left)])
            self._n_left -= n_written
            return n_written

        def fileno(self) -> int:
            return self._file.fileno()

        def close(self) -> None:
            self._file.close()

    monkeypatch.setattr(staging, "open", ShortFile, raising=False)
    store(tmp_path / "fits")
    assert (tmp_path / "fits" / "0").stat().st_size == 100_000
    file = staging.DigestingFile(tmp_path / "large")
    with pytest.raises(OSError, match="No space left"):
        file.write(b"x" * 200_000)
    file.close()
