"""The algorithm of the crash tests: it adds up numbers, and writes down each attempt that ran."""

from __future__ import annotations

import os
import time
from typing import Any, Literal

from pydantic import BaseModel

from algorithms.base import Context, Port, algorithm

TOO_LARGE_TO_TRAVEL = 2_000
"""Numbers of a report that is stored as a file instead of travelling with the outcome."""


class StepParams(BaseModel):
    """What to add, how to behave, and where to write it down."""

    ledger: str
    value: int = 0
    behaviour: Literal["add", "add_much", "fail", "fail_first", "hang"] = "add"


@algorithm(
    "crash_step",
    title="Add",
    title_zh="相加",
    family="test",
    inputs=[Port("parents", "report", optional=True, many=True)],
    outputs=[Port("result", "report")],
    cacheable=False,
)
def crash_step(context: Context, params: StepParams, parents: list[dict[str, Any]]) -> dict:
    """Add the value to the sum of the inputs, unless it is to behave badly."""
    run_id, index, attempt = context._task.attempt_id.rsplit(".", 2)
    _write_line(params.ledger, f"{run_id} {index} {attempt}")
    if params.behaviour == "hang":
        time.sleep(120)
    if params.behaviour == "fail" or (params.behaviour == "fail_first" and attempt == "1"):
        raise ValueError("as it was told to")
    total = params.value + sum(parent["total"] for parent in parents)
    if params.behaviour == "add_much":
        return {"total": total, "numbers": list(range(TOO_LARGE_TO_TRAVEL))}
    return {"total": total}


def _write_line(path: str, line: str) -> None:
    """Add one line in one write, so that lines of several workers never mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
