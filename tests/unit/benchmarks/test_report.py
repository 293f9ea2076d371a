"""The report can be read on a terminal."""

from __future__ import annotations

from benchmarks.report import format_seconds, format_table


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
