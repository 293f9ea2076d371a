"""An algorithm that writes down that it ran: what a fault test counts afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import Any

from pydantic import BaseModel

from algorithms.base import Context, Port, algorithm


class LedgerParams(BaseModel):
    """Where to write, what to write, how long the work takes, and what it brings.

    `is_detailed`: a line in JSON at the start and another at the end, with attempt, process and
    moment, in place of the bare line at the start. `fail_first`: so many attempts of the task fail.
    `file_bytes`: the output is a file of this size; 0: a small report. `gate`: a file that the work
    waits for.
    """

    ledger: str
    line: str
    seconds: float = 0.2
    is_detailed: bool = False
    fail_first: int = 0
    file_bytes: int = 0
    gate: str = ""


@algorithm(
    "write_ledger",
    title="Write down",
    title_zh="记账",
    family="test",
    inputs=[Port("parents", "any", optional=True, many=True)],
    outputs=[Port("result", "report|file")],
    cacheable=False,
)
def write_ledger(context: Context, params: LedgerParams, parents: list[Any]) -> Any:
    """Add a line before and perhaps one after the work; fail where that was asked for."""
    attempt_id = context.workdir.name if params.is_detailed else ""
    _write(params, attempt_id, "start")
    for parent in parents:
        if parent.type == "file":
            _check_whole(context.load(parent), parent)
    time.sleep(params.seconds)
    while params.gate and not os.path.exists(params.gate):
        time.sleep(0.01)
    if params.fail_first and int(attempt_id.rpartition(".")[2]) <= params.fail_first:
        _write(params, attempt_id, "planned failure")
        raise RuntimeError("planned failure")
    result: Any = {"value": 0}
    if params.file_bytes:
        result = context.workdir / "result.bin"
        result.write_bytes(os.urandom(params.file_bytes))
    if params.is_detailed:
        _write(params, attempt_id, "end")
    return result


def _write(params: LedgerParams, attempt_id: str, what: str) -> None:
    """Add one line in one write, so that lines of several workers never mix."""
    text = params.line
    if params.is_detailed:
        text = json.dumps(
            {
                "what": what,
                "line": params.line,
                "attempt_id": attempt_id,
                "pid": os.getpid(),
                "at": time.time(),
            }
        )
    descriptor = os.open(params.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)


def _check_whole(path: Any, ref: Any) -> None:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if (len(data), digest) != (ref.size_bytes, ref.sha256):
        raise ValueError(f"the input {path} is not what its reference says")
