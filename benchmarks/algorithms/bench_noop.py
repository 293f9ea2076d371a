"""The benchmark's operator that does nothing: what is measured is the engine alone."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from algorithms.base import Context, Port, algorithm


class NoopParams(BaseModel, extra="forbid"):
    """It takes no parameters."""


@algorithm(
    "bench_noop",
    title="Do nothing",
    title_zh="什么也不做",
    family="benchmark",
    inputs=[Port("parents", "any", optional=True, many=True)],
    outputs=[Port("result", "report")],
    cacheable=False,
)
def do_nothing(_context: Context, _params: NoopParams, _parents: list[Any]) -> dict[str, int]:
    """Return a constant at once, whatever the operators above brought."""
    return {"value": 0}
