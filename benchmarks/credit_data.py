"""Draws rows for the front end's credit file: who fails to pay by card next month?

Columns and ranges are those of the data set "Default of Credit Card Clients" (I-Cheng Yeh, UCI
Machine Learning Repository), which is not part of the project; the rows are drawn and are nobody's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

N_ROWS = 30_000
"""As many as the data set has."""
_MONTHS = 6
_SHARE_IN_DEFAULT = 0.22


def write_credit_data(path: Path, n_rows: int = N_ROWS) -> None:
    """Write a CSV file of so many rows, the same ones every time."""
    chance = np.random.default_rng(40)
    limit = 10_000 * np.ceil(np.minimum(chance.gamma(1.7, 10.0, n_rows), 100)).astype(int)
    columns: dict[str, np.ndarray] = {
        "ID": np.arange(1, n_rows + 1),
        "LIMIT_BAL": limit,
        "SEX": chance.integers(1, 3, n_rows),
        "EDUCATION": chance.integers(1, 5, n_rows),
        "MARRIAGE": chance.integers(1, 4, n_rows),
        "AGE": np.clip(chance.normal(35, 9, n_rows), 21, 79).astype(int),
    }
    # Who is late one month mostly is in the next one, too; and bills change little.
    late = chance.normal(-0.3, 1.0, n_rows)
    for month in (0, *range(2, _MONTHS + 1)):
        drawn = np.round(late + chance.normal(0.0, 0.6, n_rows))
        columns[f"PAY_{month}"] = np.clip(drawn, -2, 8).astype(int)
    bill = chance.lognormal(9.9, 1.4, n_rows)
    for month in range(1, _MONTHS + 1):
        columns[f"BILL_AMT{month}"] = bill.astype(int)
        bill = bill * chance.lognormal(-0.05, 0.2, n_rows)
    for month in range(1, _MONTHS + 1):
        paid = chance.lognormal(7.3, 1.3, n_rows) * (chance.random(n_rows) > 0.2)
        columns[f"PAY_AMT{month}"] = paid.astype(int)
    risk = late - limit / 400_000 + chance.normal(0.0, 0.8, n_rows)
    columns["next_month"] = (risk > np.quantile(risk, 1 - _SHARE_IN_DEFAULT)).astype(int)
    pd.DataFrame(columns).to_csv(path, index=False)
