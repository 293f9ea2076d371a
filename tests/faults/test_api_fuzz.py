"""The fuzzing of the API and of DAG files for longer; the short forms run with all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from schemathesis.generation import GenerationMode

from tests.support import databases
from tests.support.api_fuzz import can_be_unsound, fill, find_operations, fuzz
from tests.support.api_rig import ApiRig
from tests.support.random_files import any_files, check_file

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    # the library leaves the files of pages to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
N_EXAMPLES = 12
N_FILES = 2_000


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[ApiRig]:
    made = ApiRig(tmp_path, databases.sqlite_url(tmp_path))
    made.register()
    yield made
    made.close()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_operation_answers_as_it_is_described(rig: ApiRig, mode: GenerationMode) -> None:
    known = fill(rig)
    for operation in find_operations(rig):
        if mode is GenerationMode.POSITIVE or can_be_unsound(operation):
            fuzz(operation, mode, N_EXAMPLES, known)


def test_many_files_are_refused_or_come_back() -> None:
    check = settings(
        max_examples=N_FILES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )(any_files(check_file))
    check()
