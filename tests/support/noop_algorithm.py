"""An algorithm that does nothing, for measuring what is around it, and one that waits."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import BaseModel

from algorithms.base import Context, algorithm


class NoParams(BaseModel):
    pass


class WaitParams(BaseModel):
    until: str
    ledger: str


@algorithm("noop", title="Nothing", title_zh="空操作", family="test", version="1", outputs=[])
def noop(context: Context, params: NoParams) -> None:
    """Do nothing."""


@algorithm("wait", title="Wait", title_zh="等待", family="test", version="1", outputs=[])
def wait(context: Context, params: WaitParams) -> None:
    """Write a line to the ledger, then wait until a file is there."""
    with Path(params.ledger).open("a", encoding="utf-8") as ledger:
        ledger.write("started\n")
    while not Path(params.until).exists():
        time.sleep(0.01)
