"""The drawn rows fit the front end's credit file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml

from benchmarks.credit import CREDIT
from benchmarks.credit_data import write_credit_data


def test_drawn_rows_have_the_columns_that_the_file_names(tmp_path: Path) -> None:
    write_credit_data(tmp_path / "drawn.csv", 500)
    drawn = pd.read_csv(tmp_path / "drawn.csv")
    details = yaml.safe_load(CREDIT.read_text(encoding="utf-8"))["dag"]["operator_details"]
    (fit,) = [each["params"] for each in details.values() if "penalty" in each["params"]]
    assert {*fit["x_cols"], fit["y_col"]} == set(drawn.columns) - {"ID"}
    assert len(drawn) == 500
    assert drawn.notna().all(axis=None)
    assert set(drawn["next_month"]) == {0, 1}


def test_the_same_rows_are_drawn_every_time(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write_credit_data(tmp_path / name, 50)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
