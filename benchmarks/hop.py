"""Shows where the time of one hop of a chain goes, step by step:

    python benchmarks/hop.py [--length 40] [--rounds 20] [--database-url …] [--json FILE]

A hop leads from the start of one operator to the start of the next, through all processes. Each
notes when its steps begin (`hop_probe`), which costs about 3 µs a step; in a chain nothing runs
beside the one task, so that the steps of a hop follow each other. Median and mean over all hops.

Caveats: the client waits and asks nothing meanwhile; what follows a report (its acknowledgement,
the release) is not on the way of the next task and shares the processor with it.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.client import ApiClient, BenchmarkError
from benchmarks.frame import make_parser, running_service, write_results
from benchmarks.graphs import make_chain, make_dag_file

PROBE = Path(__file__).resolve().parent / "hop_probe"
_TIMEOUT_S = 60.0
_WARM_UPS = 2
WAY = (
    ("work", "worker: the operator itself, its files, its log"),
    ("worked", "worker → pool supervisor: the outcome over a socket"),
    ("pool_hears_end", "pool supervisor: books the end, journal"),
    ("pool_tells", "pool supervisor → monitor process: socket, decode"),
    ("monitor_hears", "monitor: outbox, hand over to the reporter's thread if it is busy"),
    ("reporter_encodes", "monitor: encode the report"),
    ("reporter_posts", "monitor → scheduler: HTTP request"),
    ("scheduler_hears", "scheduler: decode, hand over to the loop's thread"),
    ("round_begins", "scheduler: token, state machine, placement, next task"),
    ("commit_begins", "scheduler: the commit, synced"),
    ("commit_ends", "scheduler: sort by engine, hand over to the sender's thread if it is busy"),
    ("sender_encodes", "scheduler: encode the batch"),
    ("sender_posts", "scheduler → main process: HTTP request"),
    ("main_takes", "main: decode, table of attempts"),
    ("main_sends", "main → execution process: encode, socket"),
    ("execution_hears", "execution: decode, hand over to the lane's thread, if one is needed"),
    ("lane_takes", "execution: unseal"),
    ("executor_submits", "execution → pool supervisor: encode, socket"),
    ("pool_takes", "pool supervisor: books the start"),
    ("pool_gives", "pool supervisor → worker: journal, socket, decode"),
)


def main() -> None:
    """Run chains with the probe in all processes; print the table and write what was measured."""
    parser = make_parser(__doc__)
    parser.add_argument("--length", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.NamedTemporaryFile("r+", prefix="dagengine_hop_") as sheet:
        os.environ["HOP_PROBE_FILE"] = sheet.name
        os.environ["PYTHONPATH"] = os.pathsep.join([str(PROBE), os.environ.get("PYTHONPATH", "")])
        with running_service(given.database_url, results) as (_, client):
            for number in range(_WARM_UPS):
                _run_chain(client, given.length, f"warm up {number}")
            sheet.truncate(0)
            seconds = [
                _run_chain(client, given.length, f"hop {number}") for number in range(given.rounds)
            ]
        lines = sheet.read().splitlines()
    hops = find_hops(lines)
    if len(hops) < given.rounds * (given.length - 1) // 2:
        seen = {line.split()[1] for line in lines}
        missing = [step for step, _ in WAY if step not in seen]
        raise BenchmarkError(f"only {len(hops)} whole hops were seen; never seen: {missing}")
    results |= {
        "hops": len(hops),
        "chain_s": round(statistics.median(seconds), 4),
        "hop_us": _summarize([sum(hop) for hop in hops]),
        "steps_us": {
            step: _summarize([hop[place] for hop in hops]) for place, (step, _) in enumerate(WAY)
        },
    }
    write_results(results, given.json)
    print(show_table(results), end="")


def _run_chain(client: ApiClient, length: int, name: str) -> float:
    file = make_dag_file(make_chain(length, "bench_noop"), name)
    seconds, runs = client.run_files([json.dumps(file).encode()], "application/json", _TIMEOUT_S)
    if runs[0]["state"] != "succeeded":
        raise BenchmarkError(f"a chain ended {runs[0]['state']}")
    return seconds


def find_hops(lines: list[str]) -> list[list[float]]:
    """Cut steps into hops, each the microseconds of the steps of `WAY` in their order.

    A step that does not follow the one before is none of the chain: a start, say, that was reported
    by itself. What is seen of a hop that has a gap is dropped.
    """
    moments = sorted((int(line.split()[0]), line.split()[1]) for line in lines)
    hops: list[list[float]] = []
    begun: list[int] = []
    for moment, step in moments:
        if step == WAY[0][0]:
            if len(begun) == len(WAY):
                ends = [*begun[1:], moment]
                hops.append([(end - start) / 1000 for start, end in zip(begun, ends, strict=True)])
            begun = [moment]
        elif len(begun) < len(WAY) and step == WAY[len(begun)][0]:
            begun.append(moment)
    return hops


def _summarize(values: list[float]) -> dict[str, int]:
    return {"median": round(statistics.median(values)), "mean": round(statistics.mean(values))}


def show_table(results: dict[str, Any]) -> str:
    """Write the medians as a table, and the sum."""
    lines = [
        f"{results['hops']} hops of chains on {results['database']}; a whole chain "
        f"{results['chain_s']:.3f} s",
        "",
        "| step | median µs | mean µs |",
        "|---|---:|---:|",
    ]
    rows = [(text, results["steps_us"][step]) for step, text in WAY]
    rows.append(("**one hop**", results["hop_us"]))
    lines += [f"| {text} | {took['median']} | {took['mean']} |" for text, took in rows]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
