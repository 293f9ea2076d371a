"""An algorithm that ends well only if another operator of the run is carried out meanwhile."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from algorithms.base import AlgorithmError, Context, Port, algorithm

_PATIENCE_S = 30.0


class MeetParams(BaseModel):
    """Who comes, and whom it waits for."""

    folder: str
    name: str
    other: str


@algorithm(
    "meet",
    title="Meet",
    title_zh="会合",
    family="test",
    version="1",
    inputs=[Port("parents", "any", optional=True, many=True)],
    outputs=[Port("met", "report")],
    cacheable=False,
)
def meet(context: Context, params: MeetParams, parents: list[Any]) -> dict[str, str]:
    """Leave a mark, and wait for the other's."""
    Path(params.folder, params.name).touch()
    deadline = time.monotonic() + _PATIENCE_S
    while not Path(params.folder, params.other).exists():
        if time.monotonic() > deadline:
            raise AlgorithmError(f"{params.other} did not come while {params.name} was there.")
        time.sleep(0.005)
    return {"met": params.other}
