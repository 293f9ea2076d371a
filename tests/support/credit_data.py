"""A seeded table with the columns of the credit default data set, and a like distribution.

Not real people: repayment states, bills and payments follow one hidden propensity, so that about
22 % default and a logistic regression on the raw columns reaches an AUC of about 0.68.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

FEATURES = [
    "LIMIT_BAL",
    "SEX",
    "EDUCATION",
    "MARRIAGE",
    "AGE",
    *(f"PAY_{month}" for month in (0, 2, 3, 4, 5, 6)),
    *(f"BILL_AMT{month}" for month in range(1, 7)),
    *(f"PAY_AMT{month}" for month in range(1, 7)),
]
TARGET = "next_month"


def make_credit_table(n_rows: int = 6_000, seed: int = 20050901) -> pd.DataFrame:
    """Return a table of `n_rows` clients with `ID`, 23 features and the target, all int64."""
    generator = np.random.default_rng(seed)
    risk = generator.normal(size=n_rows)
    limit = np.round(np.exp(11.7 - 0.25 * risk + 0.8 * generator.normal(size=n_rows)), -4)
    limit = limit.clip(10_000, 800_000)
    columns: dict[str, np.ndarray] = {
        "ID": np.arange(1, n_rows + 1),
        "LIMIT_BAL": limit,
        "SEX": generator.integers(1, 3, n_rows),
        "EDUCATION": generator.choice([1, 2, 3, 4], n_rows, p=[0.35, 0.47, 0.16, 0.02]),
        "MARRIAGE": generator.choice([1, 2, 3], n_rows, p=[0.46, 0.53, 0.01]),
        "AGE": (21 + generator.gamma(2.6, 5.5, n_rows)).clip(21, 79),
    }
    for month in (0, 2, 3, 4, 5, 6):
        delay = 0.9 * risk + 0.9 * generator.normal(size=n_rows)
        columns[f"PAY_{month}"] = np.select([delay < -0.9, delay < 0.9, delay < 1.6], [-1, 0, 1], 2)
    use = 1 / (1 + np.exp(-(0.5 * risk + generator.normal(size=n_rows))))
    for month in range(1, 7):
        columns[f"BILL_AMT{month}"] = limit * use * generator.uniform(0.8, 1.1, n_rows)
    for month in range(1, 7):
        share = np.exp(-2.6 - 0.35 * risk + 0.8 * generator.normal(size=n_rows))
        columns[f"PAY_AMT{month}"] = columns[f"BILL_AMT{month}"] * share.clip(0, 1)
    threshold = np.quantile(noisy := 0.8 * risk + generator.normal(size=n_rows), 0.7788)
    columns[TARGET] = noisy > threshold
    return pd.DataFrame(columns).round().astype("int64")[["ID", *FEATURES, TARGET]]


def write_credit_csv(path: Path, n_rows: int = 6_000, seed: int = 20050901) -> Path:
    """Write the table as csv and return its path."""
    make_credit_table(n_rows, seed).to_csv(path, index=False)
    return path
