from __future__ import annotations

from pathlib import Path

import pytest

from operator_engine.errors import ExecutorLoadError
from operator_engine.registry import find_class_path, make_executor
from operator_engine.settings import EngineSettings, ExecutorEntry
from tests.support.file_executor import FileExecutor

SETTINGS = EngineSettings(engine_id="e", home="/h", dag_engine_url="http://d", store_url="/s")


def test_executor_is_made_from_its_class_path(tmp_path: Path) -> None:
    entry = ExecutorEntry(
        name="mine",
        class_path="tests.support.file_executor:FileExecutor",
        options={"folder": str(tmp_path)},
    )
    assert isinstance(make_executor(entry, SETTINGS), FileExecutor)


def test_local_executor_is_found_by_its_name() -> None:
    assert find_class_path(ExecutorEntry(name="local")) == "executors.local.client:LocalExecutor"


@pytest.mark.parametrize(
    ("class_path", "said"),
    [
        ("", "no installed package offers an executor of this name (there are: local)"),
        ("tests.support.file_executor", "must be `package.module:Class`"),
        ("no_such_package.module:Class", "Is its package installed?"),
        ("tests.support.file_executor:Nothing", "has no class 'Nothing'"),
        ("tests.support.report_sink:ReportSink", "does not derive from"),
    ],
)
def test_entry_that_cannot_be_made_says_what_to_do(class_path: str, said: str) -> None:
    entry = ExecutorEntry(name="mine", class_path=class_path)
    with pytest.raises(ExecutorLoadError) as caught:
        make_executor(entry, SETTINGS)
    assert said in str(caught.value)
    assert "'mine'" in str(caught.value)
