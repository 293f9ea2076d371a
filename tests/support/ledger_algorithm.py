"""An algorithm that writes down that it ran: what a fault test counts afterwards."""

from __future__ import annotations

import os
import time
from typing import Any

from pydantic import BaseModel

from algorithms.base import Context, Port, algorithm


class LedgerParams(BaseModel):
    """Where to write, what to write, and how long the work takes."""

    ledger: str
    line: str
    seconds: float = 0.2


@algorithm(
    "write_ledger",
    title="Write down",
    title_zh="记账",
    family="test",
    inputs=[Port("parents", "any", optional=True, many=True)],
    outputs=[Port("result", "report")],
    cacheable=False,
)
def write_ledger(_context: Context, params: LedgerParams, _parents: list[Any]) -> dict[str, int]:
    """Add one line in one write, so that lines of several workers never mix; then work."""
    descriptor = os.open(params.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{params.line}\n".encode())
    finally:
        os.close(descriptor)
    time.sleep(params.seconds)
    return {"value": 0}
