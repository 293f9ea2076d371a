"""The way of a value between two processes."""

from __future__ import annotations

import pickle
from typing import TypeVar

Value = TypeVar("Value")


def copy_by_pickle(value: Value) -> Value:
    """Give what another process would be given."""
    copy: Value = pickle.loads(pickle.dumps(value))  # noqa: S301 - made on the same line
    return copy
