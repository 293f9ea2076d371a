"""All cases: importing this module fills the table."""

from __future__ import annotations

from tests.support.bad_input import (  # noqa: F401 - each enters its cases
    calls,
    dag_files,
    egress,
    parameters,
    planted,
    reports,
)
from tests.support.bad_input.registry import CASES, N_CASES, Case, write_table

__all__ = ["CASES", "N_CASES", "Case", "write_table"]
