"""Measures all contenders in turn, so that a disturbance of the machine hits them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from typing import Any

from benchmarks.contenders import Contender, EngineContender, make_warm_up_case
from benchmarks.graphs import Case
from benchmarks.processes import (
    measure_idle_share,
    measure_tree,
    sum_cpu_by_name,
    wait_until_settled,
)
from benchmarks.service import Service

_SETTLE_S = 3.0
_SETTLE_TIMEOUT_S = 30.0
_REST_S = 0.3
"""What a contender does after its last result is seen belongs to nobody's time."""


def measure_start(service: Service, file_format: str, home_is: str) -> dict[str, float]:
    """Start the service; measure until it says that it is ready, and until a first run ends."""
    began = time.perf_counter()
    ready_s = service.start()
    engine = EngineContender("start", service, file_format)
    try:
        engine.run(make_warm_up_case())
    finally:
        engine.close()
    return {
        f"{home_is}_s": round(ready_s, 3),
        f"{home_is}_run_s": round(time.perf_counter() - began, 3),
    }


def measure_idle(service: Service, seconds: float) -> dict[str, Any]:
    """Measure the share of a core that everything uses while nothing is asked, in percent.

    After a start workers are still replaced by preloaded ones; that is waited for.
    """
    is_settled = wait_for_workers(service, min(_SETTLE_S, seconds))
    percent, shares = measure_idle_share(service.pid, seconds)
    return {
        "percent": round(percent, 2),
        "seconds": seconds,
        "is_settled": is_settled,
        "by_process": {name: round(share, 3) for name, share in shares.items()},
    }


def wait_for_workers(service: Service, quiet_s: float = _SETTLE_S) -> bool:
    """Wait until the workers are those that serve from now on; false where that takes too long."""
    return wait_until_settled(service.pid, quiet_s, _SETTLE_TIMEOUT_S)


def measure_memory(service: Service) -> dict[str, float]:
    """Add up the proportional set sizes of all processes, in MiB, by process and in all."""
    by_name: dict[str, float] = {}
    for use in measure_tree(service.pid).values():
        by_name[use.name] = by_name.get(use.name, 0.0) + use.pss_mb
    ordered = dict(sorted(by_name.items(), key=lambda item: -item[1]))
    return {"all": round(sum(ordered.values()), 1)} | {
        name: round(size, 1) for name, size in ordered.items()
    }


def measure_cases(
    cases: Iterable[Case], contenders: list[Contender], n_repetitions: int, *, warms_up: bool
) -> dict[str, dict[str, Any]]:
    """Run every case with every contender in turn, `n_repetitions` times; seconds by case and
    contender. Where they warm up first, the machine rests before each run.
    """
    figures: dict[str, dict[str, Any]] = {}
    for case in cases:
        seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
        cpu: dict[str, dict[str, float]] = {}
        for repetition in range(-1 if warms_up else 0, n_repetitions):
            for contender in contenders:
                time.sleep(_REST_S if warms_up else 0.0)
                took, used = _run_measured(contender, case)
                if repetition >= 0:
                    seconds[contender.name].append(took)
                    _add(cpu.setdefault(contender.name, {}), used)
        figures[case.name] = {
            name: summarize(values) | _describe_cpu(cpu[name], n_repetitions * case.n_tasks)
            for name, values in seconds.items()
        }
    return figures


def summarize(seconds: list[float]) -> dict[str, Any]:
    """Reduce repetitions to median, least and most."""
    return {
        "median_s": round(statistics.median(seconds), 5),
        "min_s": round(min(seconds), 5),
        "max_s": round(max(seconds), 5),
        "all_s": [round(value, 5) for value in seconds],
    }


def _run_measured(contender: Contender, case: Case) -> tuple[float, dict[str, float]]:
    """Run a case once; for the engine also tell each process's time on the processor."""
    if not isinstance(contender, EngineContender):
        return contender.run(case), {}
    before = measure_tree(contender.service.pid)
    took = contender.run(case)
    return took, sum_cpu_by_name(before, measure_tree(contender.service.pid))


def _add(total: dict[str, float], used: dict[str, float]) -> None:
    for name, cpu_s in used.items():
        total[name] = total.get(name, 0.0) + cpu_s


def _describe_cpu(used: dict[str, float], n_tasks: int) -> dict[str, Any]:
    if not used:
        return {}
    return {"cpu_us_per_task": {name: round(1e6 * s / n_tasks, 1) for name, s in used.items()}}
