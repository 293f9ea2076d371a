"""The command: starts everything, measures, prints a report and writes it as JSON."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.client import BenchmarkError
from benchmarks.contenders import ChildContender, Contender, EngineContender, make_warm_up_case
from benchmarks.databases import DatabaseMissingError, find_server_url, make_database
from benchmarks.further import measure_in_flight, measure_work
from benchmarks.graphs import make_cases
from benchmarks.machine import ROOT, describe_commit, describe_machine
from benchmarks.measuring import (
    measure_cases,
    measure_idle,
    measure_memory,
    measure_start,
    wait_for_workers,
)
from benchmarks.report import NAMES, format_history_row, print_report
from benchmarks.service import Service
from benchmarks.targets import compare_with_targets

_N_WORKERS = 2
_PARTS = ["graphs", "work", "in_flight"]

CAVEATS = [
    "Everything runs on one machine and shares its cores: the clients, the engine, the database "
    "server and, idle, the other contenders. Compare ratios within one run, not seconds between "
    "machines or days.",
    "The process pool and Dask get the graph as objects in memory and keep nothing. The engine "
    "gets a DAG file over HTTP, checks and stores it, and commits every state with full sync.",
    f"Pool, Dask and Ray have {_N_WORKERS} workers; the engine has its default, twice the cores.",
    "Connections are open and workers warm when the clock starts, for all of them; every file "
    "posted differs from those before, and the benchmark's algorithms are not cached.",
    "No-ops show what the engine adds to each task. Where tasks take seconds, it hardly shows.",
    "Real work and many tasks in flight are measured on SQLite. The script keeps nothing: no "
    "artifact, no model, no record that it ran.",
    "A figure of a database server depends on its settings: innodb_flush_log_at_trx_commit other "
    "than 1 is fast and loses runs.",
]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__)
    cases = list(make_cases())
    parser.add_argument("--parts", default=",".join(_PARTS), help=f"some of {','.join(_PARTS)}")
    parser.add_argument("--cases", default=",".join(cases), help=f"some of {','.join(cases)}")
    parser.add_argument("--databases", default="sqlite,mysql", help="some of sqlite,mysql; or none")
    parser.add_argument("--others", default="pool,dask,ray", help="some of pool,dask,ray; or none")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions after a warm-up")
    parser.add_argument("--format", choices=("json", "yaml"), default="json", help="of the files")
    parser.add_argument("--idle", type=float, default=10.0, metavar="SECONDS", help="0: leave out")
    parser.add_argument("--mysql-url", default=find_server_url(), help="a server, no database")
    parser.add_argument("--scratch", type=Path, help="where homes are made; default: a temporary")
    parser.add_argument("--output", type=Path, help="file or folder of the JSON")
    parser.add_argument("--profile", action="store_true", help="tell each process's CPU per task")
    parser.add_argument("--milestone", help="print the row for history.md under this name")
    parser.add_argument("--quick", action="store_true", help="small, once: shows that it runs")
    options = parser.parse_args(arguments)
    for name, known in (
        ("parts", _PARTS),
        ("cases", cases),
        ("databases", ["sqlite", "mysql", "none"]),
        ("others", ["pool", "dask", "ray", "none"]),
    ):
        words = [word for word in getattr(options, name).split(",") if word]
        if unknown := set(words) - set(known):
            parser.error(f"--{name}: {', '.join(sorted(unknown))} is none of {', '.join(known)}")
        setattr(options, name, [word for word in words if word != "none"])
    if options.repeat < 1:
        parser.error("--repeat: at least 1")
    if options.quick:
        options.repeat = 1
        options.idle = min(options.idle, 0.5)
    return options


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything that the options ask for."""
    scratch = Path(tempfile.mkdtemp(prefix="dagengine_bench_", dir=options.scratch))
    results: dict[str, Any] = {
        "measured_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(scratch),
        "commit": describe_commit(),
        "settings": {
            "repetitions": options.repeat,
            "file_format": options.format,
            "is_quick": options.quick,
            "is_profiled": options.profile,
            "n_workers_of_others": _N_WORKERS,
        },
        "databases": {},
        "others": {},
        "start": {},
        "idle": {},
        "memory": {},
        "titles": {},
        "cases": {},
        "work": {},
        "in_flight": {},
        "caveats": list(CAVEATS),
    }
    try:
        if "graphs" in options.parts:
            with ExitStack() as stack:
                _measure_in(scratch, options, results, stack)
        if "work" in options.parts:
            _say("Real work")
            n_rounds = options.repeat
            results["work"] = measure_work(scratch, n_rounds, is_quick=options.quick)
        if "in_flight" in options.parts:
            _say("Many tasks in flight")
            results["in_flight"] = measure_in_flight(scratch, is_quick=options.quick)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return results


def _measure_in(
    scratch: Path, options: argparse.Namespace, results: dict[str, Any], stack: ExitStack
) -> None:
    contenders: list[Contender] = [
        engine
        for kind in options.databases
        if (engine := _start_engine(kind, scratch, options, results, stack)) is not None
    ]
    engines = [contender for contender in contenders if isinstance(contender, EngineContender)]
    for kind in options.others:
        other = ChildContender(kind, _N_WORKERS, is_quick=options.quick)
        if other.missing:
            _notice(results, f"{NAMES[kind]} is left out: {other.missing}.")
            continue
        stack.callback(other.close)
        results["others"][kind] = other.version
        contenders.append(other)
    cases = make_cases(is_quick=options.quick)
    chosen = [case for name, case in cases.items() if name in options.cases]
    results["titles"] = {case.name: case.title for case in chosen}
    results["cases"] = measure_cases(chosen, contenders, options.repeat, warms_up=not options.quick)
    for engine in engines:
        memory = measure_memory(engine.service)
        results["memory"][engine.name] |= {"after_mb": memory["all"], "after_by_process": memory}


def _start_engine(
    kind: str,
    scratch: Path,
    options: argparse.Namespace,
    results: dict[str, Any],
    stack: ExitStack,
) -> EngineContender | None:
    """Measure the starts and the idle use of a service; it then goes on, for the cases."""
    try:
        database = stack.enter_context(make_database(kind, options.mysql_url))
    except DatabaseMissingError as error:
        _notice(results, f"{NAMES[kind]} is left out, no server answers: {error}.")
        return None
    results["databases"][kind] = database.version
    service = Service(scratch / kind, database.url)
    stack.callback(service.stop)
    service.upgrade_database()
    _say(f"{NAMES[kind]}: first start")
    starts = measure_start(service, options.format, "first")
    if not options.quick:
        service.stop()
        _say(f"{NAMES[kind]}: second start")
        starts |= measure_start(service, options.format, "second")
    results["start"][kind] = starts
    if options.idle > 0:
        _say(f"{NAMES[kind]}: {options.idle:g} s idle")
        results["idle"][kind] = measure_idle(service, options.idle)
    elif not options.quick:
        wait_for_workers(service)
    memory = measure_memory(service)
    results["memory"][kind] = {"idle_mb": memory["all"], "idle_by_process": memory}
    engine = EngineContender(kind, service, options.format)
    stack.callback(engine.close)
    engine.check_results(make_warm_up_case())
    engine.check_results(make_cases(is_quick=True)["chain"])
    return engine


def choose_output(wanted: Path | None, measured_at: str) -> Path:
    """Choose the file: as wanted, or by the moment in a folder; never one that exists."""
    if wanted is not None and wanted.suffix == ".json":
        return wanted
    folder = wanted or ROOT / "benchmarks" / "results"
    return folder / f"{measured_at[:19].replace(':', '').replace('T', '_')}.json"


def _notice(results: dict[str, Any], text: str) -> None:
    """Tell at once, and in the report, what was left out."""
    results["caveats"].append(text)
    _say(text)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _end(_signal_number: int, _frame: FrameType | None) -> None:
    """Turn SIGTERM into an orderly end, so that services and databases are removed."""
    raise SystemExit(143)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write.

    The exit code tells whether all runs succeeded, not whether they were fast.
    """
    options = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, _end)
    try:
        results = measure(options)
    except BenchmarkError as error:
        _say(f"The benchmark broke off: {error}")
        return 1
    findings = [] if options.quick else compare_with_targets(results)
    results["targets"] = [
        {
            "milestone": finding.target.milestone,
            "title": finding.target.title,
            "limit": finding.target.limit,
            "value": finding.value,
            "is_met": finding.is_met,
        }
        for finding in findings
    ]
    print_report(results, findings)
    output = choose_output(options.output, results["measured_at"])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"\nWritten to {output}")
    if options.milestone:
        print(f"\n{format_history_row(results, options.milestone)}")
    return 0
