"""All cases: importing this module fills the table."""

from __future__ import annotations

from tests.support.bad_input import calls, dag_files, egress, parameters, planted, reports
from tests.support.bad_input.registry import CASES, N_CASES, Case, write_table

MODULES = (calls, dag_files, egress, parameters, planted, reports)

__all__ = ["CASES", "MODULES", "N_CASES", "Case", "write_table"]
