"""The command line against a small real HTTP server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from dag_engine.cli.main import run_command
from tests.support.canned_api import CannedApi, run_canned_api


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed and answered."""

    code: int
    out: str
    err: str


Dagengine = Callable[..., Said]


@pytest.fixture
def canned() -> Iterator[CannedApi]:
    with run_canned_api() as api:
        yield api


@pytest.fixture
def dagengine(
    canned: CannedApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Dagengine:
    """Run a command against the canned API."""
    monkeypatch.setenv("DAGENGINE_URL", canned.url)
    monkeypatch.delenv("DAGENGINE_TOKEN", raising=False)

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        code = run_command(list(arguments))
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call
