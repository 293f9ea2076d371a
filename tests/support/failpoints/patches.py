"""Changes to the real processes by name, beside the points: what makes many faults bearable.

Each patch names the module that it changes; what it replaces must exist, so that a patch that has
become pointless is found out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import ModuleType

from tests.support.failpoints.inside import Change, Switchboard


def find_patches(names: Iterable[str]) -> Iterator[tuple[str, Change]]:
    """Give the changes of the named patches, by module."""
    for name in names:
        if name:
            yield PATCHES[name]


def _restart_at_once(module: ModuleType, _board: Switchboard) -> None:
    """Processes that are killed hundreds of times are started again without a growing pause."""
    assert module._PAUSES_S[0] == 0.0
    module._PAUSES_S = module._PAUSES_S[:1]


PATCHES: dict[str, tuple[str, Change]] = {
    "restart_at_once": ("operator_engine.launcher", _restart_at_once),
}
