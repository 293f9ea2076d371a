"""What the figures should be, and whether they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.credit import WARM_LIMIT


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that should not be above a limit.

    `figure` is a path such as `cases.chain.sqlite`; with `per`, the ratio of the two is limited.
    """

    milestone: str
    title: str
    limit: float
    figure: str
    per: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A target with what was measured; `value` is None where it was not."""

    target: Target
    value: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether the figure is within the limit; None where it was not measured."""
        return None if self.value is None else self.value <= self.target.limit


def _make_ratios(milestone: str, other: str, limits: dict[str, float]) -> list[Target]:
    return [
        Target(
            milestone,
            f"{case} on {database} / {other}",
            limit if database == "sqlite" else limit * _MYSQL_ALLOWANCE[milestone],
            f"cases.{case}.{database}",
            f"cases.{case}.{other}",
            "×",
        )
        for case, limit in limits.items()
        for database in ("sqlite", "mysql")
    ]


_MYSQL_ALLOWANCE = {"first": 1.0, "next": 1.5}
"""By how much a server of its own may take longer than SQLite."""

TARGETS = [
    *_make_ratios("first", "dask", {"chain": 1.0, "wide": 3.0, "layered": 3.0}),
    Target("first", "cold start to ready", 4.0, "start.sqlite.first_s", unit="s"),
    Target("first", "idle, of one core", 2.0, "idle.sqlite.percent", unit="%"),
    *_make_ratios("next", "dask", {"chain": 0.5, "wide": 1.0, "layered": 1.0, "concurrent": 1.0}),
    *_make_ratios("next", "ray", {"chain": 1.6}),
    Target(
        "next",
        "credit file, warm / script",
        WARM_LIMIT,
        "work.credit.engine",
        "work.credit.script",
        "×",
    ),
    Target(
        "next",
        "a task with 100,000 in flight / with 1,000",
        1.2,
        "in_flight.100000.ms_a_task",
        "in_flight.1000.ms_a_task",
        "×",
    ),
    Target("next", "cold start to ready", 3.0, "start.sqlite.first_s", unit="s"),
    Target("next", "idle, of one core", 1.0, "idle.sqlite.percent", unit="%"),
    Target("next", "memory of everything, idle", 450.0, "memory.sqlite.idle_mb", unit="MB"),
]


def compare_with_targets(results: dict[str, Any]) -> list[Finding]:
    """Look up every target's figure in the results; a case stands for its median."""
    findings = []
    for target in TARGETS:
        value = find_figure(results, target.figure)
        if target.per:
            per = find_figure(results, target.per)
            value = value / per if value is not None and per else None
        findings.append(Finding(target, value))
    return findings


def find_figure(results: dict[str, Any], path: str) -> float | None:
    """Follow a dotted path; None where it leads nowhere."""
    value: Any = results
    for word in path.split("."):
        value = value.get(word) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("median_s")
    return float(value) if isinstance(value, int | float) else None
