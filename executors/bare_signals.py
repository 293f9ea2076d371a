"""`signal` and `getsignal` of the standard library, without the enums that it makes of what they
give back: of a handler that is a function none can be made, and to find that out takes ten times
as long as the call, for every attempt in a warm worker.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the C part of `signal`; it has no type hints
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | int | None

set_handler: Callable[[int, Handler], Handler] = _signal.signal
get_handler: Callable[[int], Handler] = _signal.getsignal
DEFAULT: int = _signal.SIG_DFL
