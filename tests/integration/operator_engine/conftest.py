"""A report sink and a running operator engine for each test that asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine_rig import EngineRig
from tests.support.report_sink import ReportSink


@pytest.fixture
def sink() -> Iterator[ReportSink]:
    sink = ReportSink()
    yield sink
    sink.close()


@pytest.fixture
def rig(tmp_path: Path, sink: ReportSink) -> Iterator[EngineRig]:
    """A running engine with the file executor."""
    rig = EngineRig(tmp_path, sink)
    rig.start()
    try:
        yield rig
    finally:
        rig.stop()
