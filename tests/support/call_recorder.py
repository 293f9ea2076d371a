"""Records the calls that make files last: which file was opened, which was synced how large, and
what was renamed.

No kill of a process can show a sync that is missing, since the kernel keeps what was written; only
the order of the calls can.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass(slots=True)
class FileCalls:
    """The calls in their order: `("open", path)`, `("sync", path, size)` and
    `("rename", source, target)`.
    """

    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def when_synced(self, path: Path, size_bytes: int | None = None) -> list[int]:
        """Tell at which places of the order a file or folder was synced, if at that size."""
        return [
            place
            for place, call in enumerate(self.calls)
            if call[:2] == ("sync", str(path)) and size_bytes in (None, call[2])
        ]

    def when_renamed(self, target: Path) -> int:
        """Tell at which place of the order something got its final name."""
        (place,) = [
            place
            for place, call in enumerate(self.calls)
            if call[0] == "rename" and call[2] == str(target)
        ]
        return place

    def count_opened(self, *paths: Path) -> int:
        """Tell how often a file was opened, under any of its names."""
        names = {str(path) for path in paths}
        return sum(call[0] == "open" and call[1] in names for call in self.calls)

    def source_of(self, target: Path) -> Path:
        """Tell under which name it was written."""
        return Path(self.calls[self.when_renamed(target)][1])

    def check_file_lasts(self, written_as: Path, final: Path, renamed: Path) -> None:
        """Fail unless a file was whole on the disk before the rename that shows it to others.

        Parameters
        ----------
        written_as : Path
            Its name while it was written.
        final : Path
            Its name now.
        renamed : Path
            What was renamed: the file, or the folder that holds it.
        """
        shown = self.when_renamed(renamed)
        synced = self.when_synced(written_as, final.stat().st_size)
        assert synced, f"{written_as} was never synced as it is: {self.calls}"
        assert synced[0] < shown, f"{written_as} was synced after the rename: {self.calls}"

    def check_name_lasts(self, renamed: Path) -> None:
        """Fail unless the folder that holds the new name was synced after the rename."""
        shown = self.when_renamed(renamed)
        assert any(place > shown for place in self.when_synced(renamed.parent)), (
            f"{renamed.parent} was not synced after the rename: {self.calls}"
        )


def record_file_calls(monkeypatch: pytest.MonkeyPatch) -> FileCalls:
    """Record from now on the calls of this process, which are carried out all the same."""
    recorded = FileCalls()
    monkeypatch.setattr(_Listening, "recorded", recorded)
    _Listening.start()
    sync = os.fsync

    def note_sync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        sync(descriptor)
        recorded.calls.append(("sync", path, os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fsync", note_sync)
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, _noting(recorded, getattr(os, name)))
    return recorded


def _noting(recorded: FileCalls, move: Any) -> Any:
    def note(source: Any, target: Any) -> None:
        move(source, target)
        recorded.calls.append(("rename", os.fspath(source), os.fspath(target)))

    return note


class _Listening:
    """Hears of every file that Python opens, whatever the call; such a hook cannot be taken out."""

    recorded: FileCalls | None = None
    _has_begun = False

    @classmethod
    def start(cls) -> None:
        if not cls._has_begun:
            cls._has_begun = True
            sys.addaudithook(cls._hear)

    @classmethod
    def _hear(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and cls.recorded is not None and not isinstance(arguments[0], int):
            cls.recorded.calls.append(("open", os.fsdecode(arguments[0])))
