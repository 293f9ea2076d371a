"""What an attempt leaves is whole on the disk before anybody can see it under its name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from executors.runtime.__main__ import OUTCOME_SUFFIX, RemoteTask, run_task_file
from executors.store import get_local_path
from tests.support.attempts import Workshop
from tests.support.call_recorder import record_file_calls
from tests.support.sample_algorithms import MODULE


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def _make_file(folder: Path) -> Path:
    path = folder / "letter.txt"
    path.write_bytes(b"x" * 100_000)
    return path


VALUES: dict[str, Callable[[Path], Any]] = {
    "table": lambda _: pa.table({"x": list(range(10_000))}),
    "file": _make_file,
    "report": lambda _: {"points": list(range(10_000))},
}


@pytest.mark.parametrize("kind", VALUES)
def test_an_artifact_is_synced_whole_before_it_is_shown(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    value = VALUES[kind](workshop.home)
    recorded = record_file_calls(monkeypatch)

    ref = workshop.store(value)

    final = Path(get_local_path(ref.uri))
    attempt = final.parent
    aside = recorded.source_of(attempt)
    recorded.check_file_lasts(aside / final.name, final, attempt)
    assert min(recorded.when_synced(aside)) < recorded.when_renamed(attempt), "the names in it"
    recorded.check_name_lasts(attempt)
    made = [attempt.parent, attempt.parent.parent]
    assert all(recorded.when_synced(folder.parent) for folder in made), "the folders above it"


@pytest.mark.parametrize("kind", VALUES)
def test_an_artifact_is_digested_while_it_is_written_not_read_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    value = VALUES[kind](workshop.home)
    recorded = record_file_calls(monkeypatch)

    ref = workshop.store(value)

    final = Path(get_local_path(ref.uri))
    assert ref.sha256 == hashlib.sha256(final.read_bytes()).hexdigest()
    aside = recorded.source_of(final.parent) / final.name
    assert recorded.count_opened(aside, final) == 2, "once to write it, once by this test"


def test_the_outcome_of_a_remote_worker_is_synced_whole_before_it_is_shown(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = workshop.make_task(f"{MODULE}:two_outputs", {"kind": "both"})
    path = workshop.home / "task.json"
    path.write_bytes(msgspec.json.encode(RemoteTask(task=task, settings=workshop.settings)))
    recorded = record_file_calls(monkeypatch)

    outcome = run_task_file(path)

    told = path.with_name(path.name + OUTCOME_SUFFIX)
    attempt = Path(get_local_path(outcome.outputs[0].uri)).parent
    assert recorded.when_renamed(attempt) < recorded.when_renamed(told), "first the result"
    recorded.check_file_lasts(recorded.source_of(told), told, told)
