"""Settings of Python's garbage collector for processes that hold much and are to answer at once.

What is dropped is freed at once by its count of references; the collector only finds what refers to
itself in a ring, of which there is little. But it looks at everything that is held to find it: with
a hundred thousand tasks in flight each full pass stops the process for a fifth of a second, and as
it comes anew with every quarter more, taking up runs costs several times as much.
"""

from __future__ import annotations

import gc

_YOUNG = 10_000
"""So many new objects are kept at most before they are looked at; by default 700."""
_MIDDLE = 20
_OLD = 50
"""Full passes come after ten million new objects that were not dropped."""


def spare_passes() -> None:
    """Leave what exists by now alone for ever, and look for rings seldom; after all imports."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
