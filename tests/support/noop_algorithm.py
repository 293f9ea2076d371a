"""An algorithm that does nothing, for measuring what is around it, and one that waits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from algorithms.base import Context, Port, algorithm


class NoParams(BaseModel):
    pass


@algorithm(
    "pass_on",
    title="Pass on",
    title_zh="传递",
    family="test",
    version="1",
    inputs=[Port("parents", "any", optional=True, many=True)],
    outputs=[Port("result", "report")],
    cacheable=False,
)
def pass_on(context: Context, params: NoParams, parents: list[Any]) -> dict[str, int]:
    """Say a word, and count what came."""
    context.log.info("passed on")
    return {"n_parents": len(parents)}


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
