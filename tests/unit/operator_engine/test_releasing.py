"""Logs of ended attempts are in the store before their executor may forget them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from executors.base import ExecutorSettings, Task
from executors.store import make_file_url
from operator_engine import releasing
from operator_engine.outbox import Release
from operator_engine.releasing import Releaser
from tests.support.file_executor import FileBackEnd, FileExecutor
from tests.support.waiting import wait_until

ATTEMPT = "rrun.0.1"


class LocalLogsExecutor(FileExecutor):
    """Its logs lie in the folder that it was told, and must not be asked for."""

    writes_logs_to_folder = True

    def read_log(self, handle: str, offset: int, limit: int) -> None:
        raise AssertionError("nobody needs to ask")


@contextmanager
def run_releaser(executor: FileExecutor, logs: Path, store: Path) -> Iterator[Releaser]:
    releaser = Releaser(
        {"file": executor}.get,
        str(logs),
        make_file_url(store),
        is_folder_in_store=logs == store / "logs",
    )
    releaser.start()
    try:
        yield releaser
    finally:
        releaser.stop()


def make_executor(tmp_path: Path, kind: type[FileExecutor] = FileExecutor) -> FileExecutor:
    back_end = FileBackEnd(tmp_path / "back_end")
    settings = ExecutorSettings(home=str(tmp_path), logs="", store_url="")
    executor = kind("file", {"folder": str(back_end.folder)}, settings)
    executor.submit(
        Task(
            attempt_id=ATTEMPT,
            run_id="rrun",
            operator="算子",
            index=0,
            attempt=1,
            algorithm="x",
            entry="x:x",
        )
    )
    return executor


def release(releaser: Releaser, tmp_path: Path) -> None:
    releaser.put([Release("file", ATTEMPT)])
    released = tmp_path / "back_end" / f"{ATTEMPT}.released"
    wait_until(released.exists, 5, lambda: "the attempt is not released")


@pytest.mark.parametrize("logs", ["store/logs", "elsewhere"])
def test_log_that_only_the_executor_has_is_kept(tmp_path: Path, logs: str) -> None:
    executor = make_executor(tmp_path)
    with run_releaser(executor, tmp_path / logs, tmp_path / "store") as releaser:
        release(releaser, tmp_path)
    kept = tmp_path / "store" / "logs" / "rrun" / "0.1.log"
    assert kept.read_text() == f"log of {ATTEMPT}"


def test_log_that_is_written_in_the_store_stays_as_it_is(tmp_path: Path) -> None:
    executor = make_executor(tmp_path, LocalLogsExecutor)
    own = tmp_path / "store" / "logs" / "rrun" / "0.1.log"
    own.parent.mkdir(parents=True)
    own.write_text("已写 written")
    with run_releaser(executor, tmp_path / "store" / "logs", tmp_path / "store") as releaser:
        release(releaser, tmp_path)
    assert own.read_text() == "已写 written"


def test_log_in_a_folder_of_the_engine_is_copied(tmp_path: Path) -> None:
    executor = make_executor(tmp_path, LocalLogsExecutor)
    own = tmp_path / "elsewhere" / "rrun" / "0.1.log"
    own.parent.mkdir(parents=True)
    own.write_text("已写 written")
    with run_releaser(executor, tmp_path / "elsewhere", tmp_path / "store") as releaser:
        release(releaser, tmp_path)
    kept = tmp_path / "store" / "logs" / "rrun" / "0.1.log"
    assert kept.read_text() == "已写 written"


def test_what_the_next_attempt_writes_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "0.1.log", tmp_path / "store" / "0.1.log"
    source.touch()
    open_by_name = releasing.open_log

    @contextmanager
    def open_and_be_late(path: str) -> Iterator[tuple[BinaryIO, int]]:
        with open_by_name(path) as opened:
            source.rename(tmp_path / "1.1.log").write_text("of the next one")
            yield opened

    monkeypatch.setattr(releasing, "open_log", open_and_be_late)
    releasing._copy_file(str(source), make_file_url(target))
    assert target.read_text() == ""
