"""Measures the engine beside a process pool and Dask: `python benchmarks/run.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module
    from benchmarks.command import main as run_command

    return run_command()


if __name__ == "__main__":
    raise SystemExit(main())
