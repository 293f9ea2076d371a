"""The report can be read on a terminal."""

from __future__ import annotations

from benchmarks.report import format_history_row, format_seconds, format_table


def test_table_puts_text_to_the_left_and_figures_to_the_right() -> None:
    assert format_table([["", "ab"], ["row", "1"], ["r", "10"]]).splitlines() == [
        "     ab",
        "---  --",
        "row   1",
        "r    10",
    ]


def test_wide_signs_take_two_columns() -> None:
    head, _, first, second = format_table([["", "n"], ["链条", "1"], ["abcd", "2"]]).splitlines()
    assert (head, first, second) == ("      n", "链条  1", "abcd  2")


def test_seconds_show_median_least_and_most() -> None:
    figure = {"median_s": 0.2, "min_s": 0.1004, "max_s": 1.5}
    assert format_seconds(figure) == "0.200 (0.100-1.500)"


def test_row_of_the_history_holds_seconds_and_ratios_and_leaves_out_what_was_not_measured() -> None:
    figures = {"sqlite": 0.12, "mysql": 0.18, "dask": 0.24}
    results = {
        "measured_at": "2026-11-22T05:00:00+00:00",
        "commit": {"id": "0123456789abcdef"},
        "machine": {"cores": 2},
        "cases": {"chain": {name: {"median_s": s} for name, s in figures.items()}},
        "start": {"sqlite": {"first_s": 2.5}},
        "idle": {},
        "memory": {},
    }
    assert format_history_row(results, "First") == (
        "| First | 2026-11-22 | 0123456789 | 2 | 0.120 (0.50) / 0.180 (0.75) |  |  |  "
        "| 2.50 s |  |  |"
    )
