"""An uploaded file is whole on the disk before its data set exists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.api_rig import ApiRig
from tests.support.call_recorder import record_file_calls
from tests.support.uploading import CSV, upload


def test_an_upload_is_synced_whole_before_it_has_its_name(
    make_rig: Callable[..., ApiRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig()
    recorded = record_file_calls(monkeypatch)

    assert upload(rig, CSV, "rows.csv", id="rows").status_code == 201

    (final,) = (Path(call[2]) for call in recorded.calls if call[0] == "rename")
    recorded.check_file_lasts(recorded.source_of(final), final, final)
    recorded.check_name_lasts(final)
    assert all(recorded.when_synced(folder) for folder in list(final.parents)[1:3])
