"""The benchmark's operator that works for some microseconds: a Fibonacci number, naively."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from algorithms.base import Context, Port, algorithm


class FibonacciParams(BaseModel, extra="forbid"):
    """Which number of the sequence is computed."""

    n: int = Field(default=10, ge=0, le=30)


def fibonacci(n: int) -> int:
    """Compute a Fibonacci number by two calls of itself, as slowly as it can be done."""
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@algorithm(
    "bench_fibonacci",
    title="Fibonacci number, naively",
    title_zh="斐波那契数（朴素递归）",
    family="benchmark",
    inputs=[Port("parents", "any", optional=True, many=True)],
    outputs=[Port("result", "report")],
    cacheable=False,
)
def compute_fibonacci(
    _context: Context, params: FibonacciParams, _parents: list[Any]
) -> dict[str, int]:
    """Compute it anew, whatever the operators above brought."""
    return {"value": fibonacci(params.n)}
