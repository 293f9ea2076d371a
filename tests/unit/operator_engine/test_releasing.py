"""Logs of ended attempts are in the store before their executor may forget them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from executors.base import ExecutorSettings, Task
from executors.store import make_file_url
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
