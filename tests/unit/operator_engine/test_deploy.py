from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from executors.base import ExecutorSettings
from executors.transport.http_server import HttpServer, Response
from operator_engine.deploy import engine_process_specs, resolve_store
from operator_engine.errors import ExecutorLoadError, StoppedError, TokenRefusedError
from operator_engine.settings import EngineSettings, ExecutorEntry, read_engine_settings
from tests.support.file_executor import FileExecutor
from tests.support.report_sink import ReportSink


class ExecutorWithProcess(FileExecutor):
    @classmethod
    def side_process(
        cls, name: str, options: dict[str, str], settings: ExecutorSettings
    ) -> list[str] | None:
        return [name, options["folder"], str(settings.slots)] if options["folder"] else None


def make_settings(home: Path, folder: str = "there") -> EngineSettings:
    executors = [
        ExecutorEntry(
            name="mine",
            class_path=f"{__name__}:ExecutorWithProcess",
            options={"folder": folder},
            slots=3,
        ),
        ExecutorEntry(name="plain", class_path="tests.support.file_executor:FileExecutor"),
    ]
    return EngineSettings(
        engine_id="e",
        home=str(home),
        dag_engine_url="http://127.0.0.1:9",
        store_url=f"file://{home}/artifacts",
        executors=executors,
    )


def test_engine_is_three_processes_and_those_of_its_executors(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    specs = engine_process_specs(settings)
    assert [spec.name for spec in specs] == [
        "executor-mine",
        "engine-main",
        "engine-execution",
        "engine-monitor",
    ]
    assert specs[0].argv == ["mine", "there", "3"]
    assert specs[1].argv[1:3] == ["-m", "operator_engine.main"]
    assert read_engine_settings(Path(specs[1].argv[3])) == settings


def test_executor_may_need_no_process(tmp_path: Path) -> None:
    names = [spec.name for spec in engine_process_specs(make_settings(tmp_path, folder=""))]
    assert "executor-mine" not in names


def test_unknown_executor_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(
        make_settings(tmp_path), executors=[ExecutorEntry(name="nonesuch")]
    )
    with pytest.raises(ExecutorLoadError, match="nonesuch"):
        engine_process_specs(settings)


def test_store_is_asked_of_the_dag_engine_until_it_answers(tmp_path: Path) -> None:
    sink = ReportSink()
    try:
        settings = msgspec.structs.replace(
            make_settings(tmp_path), store_url="", dag_engine_url=sink.url
        )
        timer = threading.Timer(0.1, lambda: setattr(sink, "store_url", "file:///shared"))
        timer.start()
        assert resolve_store(settings).store_url == "file:///shared"
        timer.join()
        assert sink.n_settings_asked >= 2
    finally:
        sink.close()


@pytest.mark.parametrize("status", [401, 403])
def test_token_that_is_refused_is_told_instead_of_waiting(tmp_path: Path, status: int) -> None:
    body = b'{"status": 401, "title": "Unauthorized", "detail": "This service asks for a token."}'
    server = HttpServer(lambda _: Response(status, body), "127.0.0.1", 0)
    server.start()
    try:
        settings = msgspec.structs.replace(
            make_settings(tmp_path), store_url="", dag_engine_url=server.url
        )
        with pytest.raises(TokenRefusedError, match=r"asks for a token[^-]*--token"):
            resolve_store(settings)
    finally:
        server.close()


def test_waiting_for_the_store_can_be_broken_off(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(make_settings(tmp_path), store_url="")
    stop = threading.Event()
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    with pytest.raises(StoppedError):
        resolve_store(settings, stop)
    timer.join()


def test_bad_options_of_an_executor_are_refused_before_anything_is_started(tmp_path: Path) -> None:
    entry = ExecutorEntry(name="local", options={"wokers": 3})
    settings = msgspec.structs.replace(make_settings(tmp_path), executors=[entry])
    with pytest.raises(ExecutorLoadError, match="wokers"):
        engine_process_specs(settings)
