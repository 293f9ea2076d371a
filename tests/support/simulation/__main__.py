"""Repeats histories: `python -m tests.support.simulation SEED` or `FIRST..LAST`."""

from __future__ import annotations

import sys
import time

from tests.support.simulation.history import make_world, play, prepared, run_histories


def main() -> int:
    """Play one history with its trace, or a range of them."""
    first, _, last = sys.argv[1].partition("..")
    if last:
        began = time.perf_counter()
        report = run_histories(range(int(first), int(last) + 1), stop_after=10)
        seconds = time.perf_counter() - began
        for broken in report.broken:
            sys.stdout.write(f"{broken.seed}: {broken.error[:600]}\n")
        sys.stdout.write(f"{report} seconds={seconds:.1f}\n")
        return bool(report.broken)
    with prepared():
        world = make_world(int(first))
        error = play(world)
    sys.stdout.write("\n".join([*world.trace, error or "every promise was kept", ""]))
    return error is not None


if __name__ == "__main__":
    raise SystemExit(main())
