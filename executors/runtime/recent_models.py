"""The models that this process stored or read last, for the task that needs one next.

A model is often used by the next task of the worker that fitted it, and copying it in memory takes
a twentieth of the time of reading it. What a digest stands for never changes, so a copy of it
serves as well as its file, which is looked at all the same. Everybody gets a copy of his own:
nothing that a task does to its model reaches the next one.
"""

from __future__ import annotations

import copy
from typing import Any

LARGEST_BYTES = 16 << 20
"""Of the file; a larger model would be missed as memory."""
N_KEPT = 2

_kept: dict[str, dict[str, Any]] = {}


def remember(sha256: str, size_bytes: int, content: dict[str, Any]) -> None:
    """Keep a copy of a model's content under the digest of its file."""
    if size_bytes > LARGEST_BYTES:
        return
    try:
        kept = copy.deepcopy(content)
    except Exception:  # noqa: BLE001 - whatever a model's own copying raises, its file is there
        return
    _kept.pop(sha256, None)
    _kept[sha256] = kept
    while len(_kept) > N_KEPT:
        del _kept[next(iter(_kept))]


def recall(sha256: str) -> dict[str, Any] | None:
    """Return a copy of a model's content, if it was kept."""
    kept = _kept.get(sha256)
    return None if kept is None else copy.deepcopy(kept)


def forget_all() -> None:
    """Keep nothing any more."""
    _kept.clear()
