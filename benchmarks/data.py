"""Measures how a table passes from operator to operator on one machine:

    python benchmarks/data.py [--mb 1000] [--mixed] [--rounds 5] [--folder DIR] [--json FILE]

Beside the engine stands what pyarrow and pandas do with an uncompressed Feather file. Each step is
a process of its own, so that its memory is its own; contenders of one step take turns.

Caveats: files are read just after they were written, so they come from the page cache. The engine
syncs what it writes to the disk, and Feather does not unless it is said; seconds of a sync are the
disk's. Look at the ratios, which come from one run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import describe_commit, describe_machine

STEPS = ("write", "write memory", "read", "arrow memory", "frame memory", "feather memory")
_LIMITS = {
    "read as DataFrame / pandas.read_feather": 1.0,
    "the same, every number looked at": 1.0,
    "peak memory of the writer / table": 1.2,
    "peak memory of the reader (Arrow) / table": 1.2,
    "peak memory of the reader (DataFrame) / table": 1.2,
    "bytes of numbers copied for Arrow": 0.0,
    "write / Feather with its digest and a sync": 1.0,  # without one nothing would be promised
}


def main() -> int:
    """Run all steps, print what they found, and tell whether the limits are kept."""
    given = _parse()
    if given.step:
        sys.stdout.write(json.dumps(_DO[given.step](given)))
        return 0
    with tempfile.TemporaryDirectory(dir=given.folder or None) as folder:
        machine = describe_machine(Path(folder))
        found = {step: _run_step(step, folder, given) for step in STEPS}
    ratios = compare(found)
    results = {
        "machine": machine,
        "commit": describe_commit(),
        "settings": {"mb": given.mb, "is_mixed": given.mixed, "rounds": given.rounds},
        "steps": found,
        "ratios": ratios,
        "caveats": (__doc__ or "").partition("Caveats: ")[2].split("\n"),
    }
    if given.json:
        Path(given.json).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    _print(results)
    return 0


def compare(found: dict[str, Any]) -> dict[str, float]:
    """Reduce what was found to ratios of medians, of memory to table, and copied bytes."""
    write, read = found["write"]["seconds"], found["read"]["seconds"]
    size_mb = found["write"]["table_mb"]

    def peak(step: str) -> float:
        return float(found[step]["peak_mb"]) / size_mb

    return {
        "write / Feather with its digest": _divide(write, "engine", "feather, digest"),
        "write / Feather with its digest and a sync": _divide(
            write, "engine", "feather, digest, sync"
        ),
        "read as Arrow / as DataFrame by pandas.read_feather": _divide(
            read, "arrow", "pandas.read_feather"
        ),
        "read as DataFrame / pandas.read_feather": _divide(read, "frame", "pandas.read_feather"),
        "the same, every number looked at": _divide(
            read, "frame, looked at", "pandas.read_feather, looked at"
        ),
        "bytes of numbers copied for Arrow": found["arrow memory"]["copied_bytes"],
        "bytes of numbers copied for the DataFrame": found["frame memory"]["copied_bytes"],
        "peak memory of the writer / table": 1 + peak("write memory"),
        "peak memory of the reader (Arrow) / table": peak("arrow memory"),
        "peak memory of the reader (DataFrame) / table": peak("frame memory"),
        "peak memory of pandas.read_feather / table": peak("feather memory"),
    }


def _divide(seconds: dict[str, list[float]], one: str, other: str) -> float:
    return round(statistics.median(seconds[one]) / statistics.median(seconds[other]), 3)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mb", type=float, default=100.0, help="size of the table [100]")
    parser.add_argument("--mixed", action="store_true", help="add text, flags and gaps")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions [5]")
    parser.add_argument("--folder", default="", help="where the files lie meanwhile [the system's]")
    parser.add_argument("--json", default="", help="file for the results")
    parser.add_argument("--step", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_step(step: str, folder: str, given: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--step", step, "--folder", folder]
    command += ["--mb", str(given.mb), "--rounds", str(given.rounds)]
    command += ["--mixed"] if given.mixed else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- the steps, each in its own process -----------------------------------------------------------


def _time_writing(given: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.tables import Bench, make_frame, measure_seconds

    bench, frame = Bench(Path(given.folder)), make_frame(given.mb, is_mixed=given.mixed)

    def store() -> Any:
        ref = bench.store(frame)
        return lambda: bench.forget(ref)

    def write_feather(*, is_synced: bool) -> Any:
        bench.write_feather(frame, is_synced=is_synced)
        return bench.feather.unlink

    seconds = measure_seconds(
        {
            "engine": store,
            "feather, digest": lambda: write_feather(is_synced=False),
            "feather, digest, sync": lambda: write_feather(is_synced=True),
        },
        given.rounds + 1,
    )
    ref = bench.store(frame)
    bench.keep(ref)
    bench.write_feather(frame, is_synced=False)
    return {
        "table_mb": round(ref.size_bytes / 1e6, 1),
        "seconds": {name: taken[1:] for name, taken in seconds.items()},
    }


def _measure_writer(given: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.tables import Bench, make_frame, measure_memory

    bench, frame = Bench(Path(given.folder)), make_frame(given.mb, is_mixed=given.mixed)
    bench.forget(bench.store(frame.head(1000)))  # imports everything
    ref, memory = measure_memory(lambda: bench.store(frame))
    bench.forget(ref)
    return memory


def _time_reading(given: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.tables import Bench, measure_seconds, touch

    bench = Bench(Path(given.folder))
    ways = {
        "arrow": bench.read_arrow,
        "frame": bench.read_frame,
        "pandas.read_feather": bench.read_feather,
    }
    steps: dict[str, Any] = dict(ways)
    steps |= {f"{name}, looked at": lambda read=read: touch(read()) for name, read in ways.items()}
    seconds = measure_seconds(steps, given.rounds + 1)  # the first one imports
    return {"seconds": {name: taken[1:] for name, taken in seconds.items()}}


def _measure_reader(given: argparse.Namespace) -> dict[str, Any]:
    from benchmarks import tables

    bench = tables.Bench(Path(given.folder))
    tables.import_all()
    read, list_arrays = {
        "arrow memory": (bench.read_arrow, tables.list_arrow_buffers),
        "frame memory": (bench.read_frame, tables.list_frame_arrays),
        "feather memory": (bench.read_feather, tables.list_frame_arrays),
    }[given.step]

    def read_and_touch() -> Any:
        table = read()
        tables.touch(table)
        return table

    table, memory = tables.measure_memory(read_and_touch)
    return {**memory, "copied_bytes": bench.count_outside(list_arrays(table))}


_DO = {
    "write": _time_writing,
    "write memory": _measure_writer,
    "read": _time_reading,
    "arrow memory": _measure_reader,
    "frame memory": _measure_reader,
    "feather memory": _measure_reader,
}


# --- what is printed ------------------------------------------------------------------------------


def _print(results: dict[str, Any]) -> None:
    from benchmarks.report import format_table

    machine = results["machine"]
    print(
        f"{machine['processor']}, {machine['cores']} cores, {machine['file_system']}, load "
        f"{machine['load_before'][0]}; table of {results['steps']['write']['table_mb']} MB"
    )
    rows = [["seconds, median of the rounds", "", ""]]
    for step in ("write", "read"):
        rows += [
            [f"{step}: {name}", f"{statistics.median(taken):.4f}", f"({min(taken):.4f} at least)"]
            for name, taken in results["steps"][step]["seconds"].items()
        ]
    print(f"\n{format_table(rows)}")
    rows = [["MB over what the process had before", "peak", "private", "mapped"]]
    for step in STEPS:
        memory = results["steps"][step]
        if "peak_mb" in memory:
            figures = [f"{memory[key]:.1f}" for key in ("peak_mb", "private_mb", "mapped_mb")]
            rows.append([step.removesuffix(" memory"), *figures])
    print(f"\n{format_table(rows)}")
    rows = [["ratios and limits", "measured", "at most", ""]]
    for name, value in results["ratios"].items():
        limit = _LIMITS.get(name)
        verdict = "" if limit is None else "met" if value <= limit else "MISSED"
        rows.append([name, f"{value:g}", "" if limit is None else f"{limit:g}", verdict])
    print(f"\n{format_table(rows)}")


if __name__ == "__main__":
    raise SystemExit(main())
