"""Targets are looked up in the results and compared."""

from __future__ import annotations

from typing import Any

from benchmarks.targets import TARGETS, Finding, compare_with_targets, find_figure


def make_results(**medians_of_chain: float) -> dict[str, Any]:
    return {
        "cases": {"chain": {name: {"median_s": s} for name, s in medians_of_chain.items()}},
        "start": {"sqlite": {"first_s": 3.5}},
        "idle": {"sqlite": {"percent": 2.5}},
    }


def find(results: dict[str, Any], milestone: str, title: str) -> Finding:
    (found,) = [
        finding
        for finding in compare_with_targets(results)
        if (finding.target.milestone, finding.target.title) == (milestone, title)
    ]
    return found


def test_ratio_of_two_medians_is_compared_with_the_limit() -> None:
    results = make_results(sqlite=0.15, dask=0.2)
    first = find(results, "first", "chain on sqlite / dask")
    assert (first.value, first.is_met) == (0.15 / 0.2, True)
    assert find(results, "next", "chain on sqlite / dask").is_met is False  # above a half


def test_single_figure_is_compared_with_the_limit() -> None:
    results = make_results()
    assert find(results, "first", "cold start to ready").is_met is True
    assert find(results, "next", "cold start to ready").is_met is False
    assert find(results, "first", "idle, of one core").is_met is False


def test_real_work_is_compared_with_the_script_and_many_tasks_with_few() -> None:
    results = {
        "work": {"credit": {"engine": {"median_s": 1.2}, "script": {"median_s": 1.0}}},
        "in_flight": {"1000": {"ms_a_task": 0.8}, "100000": {"ms_a_task": 0.6}},
    }
    work = find(results, "next", "credit file, warm / script")
    assert (work.value, work.is_met) == (1.2, False)
    many = find(results, "next", "a task with 100,000 in flight / with 1,000")
    assert (many.value, many.is_met) == (0.6 / 0.8, True)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    finding = find(make_results(sqlite=0.15), "first", "chain on sqlite / dask")
    assert (finding.value, finding.is_met) == (None, None)


def test_later_targets_are_never_looser_than_the_first_ones() -> None:
    limits = {(target.milestone, target.title): target.limit for target in TARGETS}
    for (milestone, title), limit in limits.items():
        if milestone == "first":
            assert limits["next", title] <= limit


def test_path_that_leads_nowhere_gives_nothing() -> None:
    assert find_figure({"cases": {"chain": 3}}, "cases.chain.sqlite") is None
    assert find_figure({"cases": {}}, "cases") is None
