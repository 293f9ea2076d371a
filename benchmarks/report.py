"""Prints results as tables that can be read at a glance."""

from __future__ import annotations

import unicodedata
from typing import Any

from benchmarks.graphs import make_cases
from benchmarks.targets import Finding, find_figure

ENGINES = {"sqlite": "engine, SQLite", "mysql": "engine, MariaDB"}
OTHERS = {"pool": "process pool (limit)", "dask": "Dask", "ray": "Ray"}
NAMES = ENGINES | OTHERS


def print_report(results: dict[str, Any], findings: list[Finding]) -> None:
    """Print figures, ratios, targets and caveats."""
    machine, commit = results["machine"], results["commit"]
    print(
        f"\n{machine['processor']}, {machine['cores']} cores, {machine['file_system']}; "
        f"Python {machine['python']}; commit {commit['id'][:12] or 'unknown'}"
        f"{' with changes' if commit['is_changed'] else ''}"
    )
    print("; ".join([*results["databases"].values(), *_list_versions(results["others"])]))
    _print_cases(results)
    _print_services(results)
    _print_work(results["work"])
    _print_in_flight(results["in_flight"])
    if results["settings"]["is_profiled"]:
        _print_profile(results["cases"])
    if findings:
        _print_targets(findings)
    print("\nTo be read with care:")
    for caveat in results["caveats"]:
        print(f"- {caveat}")


def format_table(rows: list[list[str]]) -> str:
    """Lay out rows, the first one being the head: text to the left, figures to the right."""
    widths = [max(_measure(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            cell + " " * (width - _measure(cell))
            if i == 0
            else " " * (width - _measure(cell)) + cell
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return "\n".join(lines)


def format_seconds(figure: dict[str, Any]) -> str:
    """Write a median with its least and most, in seconds."""
    return f"{figure['median_s']:.3f} ({figure['min_s']:.3f}-{figure['max_s']:.3f})"


def format_history_row(results: dict[str, Any], milestone: str) -> str:
    """Write the row of `history.md`; what was not measured is left empty."""
    start, idle, memory = (
        find_figure(results, path)
        for path in ("start.sqlite.first_s", "idle.sqlite.percent", "memory.sqlite.idle_mb")
    )
    cells = [
        milestone,
        results["measured_at"][:10],
        results["commit"]["id"][:10],
        str(results["machine"]["cores"]),
        *[_format_history_cell(results, case) for case in make_cases()],
        "" if start is None else f"{start:.2f} s",
        "" if idle is None else f"{idle:.2f} %",
        "" if memory is None else f"{memory:.0f} MB",
    ]
    return f"| {' | '.join(cells)} |"


def _format_history_cell(results: dict[str, Any], case: str) -> str:
    dask = find_figure(results, f"cases.{case}.dask")
    parts = []
    for engine in ENGINES:
        seconds = find_figure(results, f"cases.{case}.{engine}")
        if seconds is not None:
            ratio = f" ({seconds / dask:.2f})" if dask else ""
            parts.append(f"{seconds:.3f}{ratio}")
    return " / ".join(parts)


def _measure(text: str) -> int:
    """Tell how many columns a text takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def _list_versions(others: dict[str, str]) -> list[str]:
    return [f"{NAMES[name]} {version}" for name, version in others.items() if version]


def _print_cases(results: dict[str, Any]) -> None:
    cases, titles = results["cases"], results["titles"]
    if not cases:
        return
    names = [name for name in NAMES if any(name in figures for figures in cases.values())]
    repetitions = results["settings"]["repetitions"]
    print(f"\nSeconds from the POST to the run seen finished: median of {repetitions} (least-most)")
    rows = [["", *[NAMES[name] for name in names]]]
    rows += [
        [titles[case], *[format_seconds(figures[name]) for name in names]]
        for case, figures in cases.items()
    ]
    print(format_table(rows))
    engines = [name for name in names if name in ENGINES]
    others = [name for name in names if name in OTHERS]
    if engines and others:
        print("\nRatios of the medians")
        pairs = [(engine, other) for engine in engines for other in others]
        rows = [["", *[f"{engine}/{other}" for engine, other in pairs]]]
        rows += [
            [titles[case], *[_format_ratio(figures, *pair) for pair in pairs]]
            for case, figures in cases.items()
        ]
        print(format_table(rows))


def _format_ratio(figures: dict[str, Any], engine: str, other: str) -> str:
    return f"{figures[engine]['median_s'] / figures[other]['median_s']:.2f}"


def _print_services(results: dict[str, Any]) -> None:
    if not results["start"]:
        return
    print("\nStart, idle use and memory")
    rows = [["", *[NAMES[name] for name in results["start"]]]]
    for title, section, key, form in (
        ("first start ever, to ready", "start", "first_s", "{:.2f} s"),
        ("  the same, to the end of a first run", "start", "first_run_s", "{:.2f} s"),
        ("second start, to ready", "start", "second_s", "{:.2f} s"),
        ("  the same, to the end of a first run", "start", "second_run_s", "{:.2f} s"),
        ("idle, of one core", "idle", "percent", "{:.2f} %"),
        ("memory (PSS) of everything, idle", "memory", "idle_mb", "{:.0f} MB"),
        ("memory (PSS) after all cases", "memory", "after_mb", "{:.0f} MB"),
    ):
        figures = [results[section].get(name, {}).get(key) for name in results["start"]]
        if any(figure is not None for figure in figures):
            cells = ["" if figure is None else form.format(figure) for figure in figures]
            rows.append([title, *cells])
    print(format_table(rows))


def _print_work(work: dict[str, Any]) -> None:
    if not work:
        return
    print("\nReal work, warm, against a straight script: seconds, median")
    rows = [["", "engine", "script", "ratio"]]
    for figures in work.values():
        engine_s, script_s = (figures[who]["median_s"] for who in ("engine", "script"))
        rows.append(
            [figures["title"], f"{engine_s:.3f}", f"{script_s:.3f}", f"{engine_s / script_s:.2f}"]
        )
    print(format_table(rows))


def _print_in_flight(loads: dict[str, Any]) -> None:
    if not loads:
        return
    print("\nTasks in flight, runs of a hundred no-ops")
    rows = [["tasks", "in flight when posted", "ms a task", "processor ms a task"]]
    rows += [
        [
            f"{load['tasks']:,}",
            f"{load['in_flight_when_posted']:,}",
            f"{load['ms_a_task']:.2f}",
            f"{load['cpu_ms_a_task']:.2f}",
        ]
        for load in loads.values()
    ]
    print(format_table(rows))


def _print_profile(cases: dict[str, Any]) -> None:
    """Print which process spends how much: a core has a million microseconds in a second."""
    columns = [
        (case, name)
        for case, figures in cases.items()
        for name, figure in figures.items()
        if "cpu_us_per_task" in figure
    ]
    if not columns:
        return
    uses = {(case, name): cases[case][name]["cpu_us_per_task"] for case, name in columns}
    processes = sorted(
        {process for use in uses.values() for process in use},
        key=lambda process: -max(use.get(process, 0.0) for use in uses.values()),
    )
    print("\nProcessor time per task by process, µs")
    rows = [["", *[f"{case} {name}" for case, name in columns]]]
    rows += [
        [process, *[f"{uses[column].get(process, 0.0):.0f}" for column in columns]]
        for process in processes
    ]
    rows.append(["all", *[f"{sum(uses[column].values()):.0f}" for column in columns]])
    print(format_table(rows))


def _print_targets(findings: list[Finding]) -> None:
    for milestone in dict.fromkeys(finding.target.milestone for finding in findings):
        print(f"\nTargets, {milestone} milestone")
        rows = [["", "measured", "at most", ""]]
        rows += [
            _describe_finding(finding)
            for finding in findings
            if finding.target.milestone == milestone
        ]
        print(format_table(rows))


def _describe_finding(finding: Finding) -> list[str]:
    target = finding.target
    words = {True: "met", False: "MISSED", None: "not measured"}
    measured = "" if finding.value is None else f"{finding.value:.2f} {target.unit}"
    return [target.title, measured, f"{target.limit:g} {target.unit}", words[finding.is_met]]
