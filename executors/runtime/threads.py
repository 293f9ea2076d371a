"""Keep the numeric libraries to the CPU cores that a task asked for."""

from __future__ import annotations

import math
import operator
import os
import sys

_NUMERIC = ("numpy", "scipy", "sklearn", "torch", "pyarrow")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)
"""Each attempt sets them anew, so that nobody needs to put them back."""
_look_up = operator.itemgetter(*(name.encode() for name in THREAD_VARIABLES))
_applied: tuple[int, list[str]] | None = None


def announce_threads(cpu: float) -> None:
    """Set the environment for libraries that are not loaded yet, and for processes to come.

    joblib looks there each time that it starts workers for `n_jobs=-1`.
    """
    wanted = str(_count_threads(cpu))
    # Looked at as they are stored: the mapping's face encodes each name and decodes each value.
    raw = os.environ._data  # type: ignore[attr-defined]  # stable since 3.9
    try:
        are_set = set(_look_up(raw)) == {wanted.encode()}
    except KeyError:
        are_set = False
    if not are_set:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, wanted))


def limit_threads(cpu: float) -> None:
    """Set the thread pools of the numeric libraries that are loaded; free where none is.

    They read the environment when they are loaded, which is too late in a warm worker.
    Looking the pools up takes a millisecond, so it is done when something changed only.
    """
    global _applied
    loaded = [name for name in _NUMERIC if name in sys.modules]
    if not loaded:
        return
    n_threads = _count_threads(cpu)
    if _applied == (n_threads, loaded):
        return
    import threadpoolctl

    threadpoolctl.threadpool_limits(limits=n_threads)
    if "pyarrow" in loaded:
        sys.modules["pyarrow"].set_cpu_count(n_threads)
    _applied = (n_threads, loaded)


def _count_threads(cpu: float) -> int:
    return max(1, math.ceil(cpu))
