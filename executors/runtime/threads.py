"""Keep the numeric libraries to the CPU cores that a task asked for."""

from __future__ import annotations

import math
import sys

_NUMERIC = ("numpy", "scipy", "sklearn", "torch", "pyarrow")
_applied: tuple[int, tuple[str, ...]] | None = None


def limit_threads(cpu: float) -> None:
    """Set the thread pools of the numeric libraries that are loaded; free where none is.

    Environment variables are read when a library is imported, which is too late in a warm worker.
    Looking the pools up takes a millisecond, so it is done when something changed only.
    """
    global _applied
    loaded = tuple(name for name in _NUMERIC if name in sys.modules)
    if not loaded:
        return
    n_threads = max(1, math.ceil(cpu))
    if _applied == (n_threads, loaded):
        return
    import threadpoolctl

    threadpoolctl.threadpool_limits(limits=n_threads)
    if "pyarrow" in loaded:
        sys.modules["pyarrow"].set_cpu_count(n_threads)
    _applied = (n_threads, loaded)
