"""Algorithms that do with a secret what they should not: print it, raise it, report it."""

from __future__ import annotations

import base64
import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import Any, Literal
from urllib.parse import quote

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from algorithms.base import AlgorithmError, Context, Port, algorithm

Deed = Literal["use", "raise", "hint", "crash", "exit", "connect"]


class SecretiveParams(BaseModel):
    """What to do, with which secret and connection."""

    model_config = ConfigDict(extra="forbid")

    deed: Deed = Field("use", title="Deed", json_schema_extra={"title_zh": "行为"})
    secret: str | None = Field(
        None, title="Secret", json_schema_extra={"title_zh": "密钥", "format": "secret"}
    )
    connection: str | None = Field(
        None, title="Connection", json_schema_extra={"title_zh": "连接", "format": "connection"}
    )
    filler: int = Field(0, ge=0, title="Filler", json_schema_extra={"title_zh": "填充"})


def _read_url(context: Context, name: str | None) -> str:
    """Look a connection's URL up as no algorithm should."""
    if name is None:
        return ""
    settings: dict[str, Any] = context._task.connections[name]
    return str(settings["url"])


@algorithm(
    "test_secretive",
    title="Tell everything",
    title_zh="泄露秘密",
    family="source",
    version="1",
    outputs=[Port("report", "report"), Port("table", "table")],
    cacheable=False,
)
def tell_everything(context: Context, params: SecretiveParams) -> tuple[dict[str, Any], Any]:
    """Write a secret and a URL wherever an algorithm can write."""
    secret = context.secret(params.secret) if params.secret else ""
    told = f"{secret} {_read_url(context, params.connection)}".strip()
    _print(told)
    context.log.warning("logged %s", told)
    context.progress(1, 2, f"progress {told}")
    context.metric(f"metric {told}", 1.0)
    if params.deed != "use":
        _fail(context, params, told)
    report = {"text": told, told: [told, {"quoted": quote(told)}], "n": len(told)}
    report["filler"] = "x" * params.filler
    return report, pd.DataFrame({"n": [len(told)]})


def _print(told: str) -> None:
    print("printed", told)  # noqa: T201 - what an algorithm may do
    half = len(told) // 2
    sys.stdout.write(told[:half])
    sys.stdout.flush()
    time.sleep(0.05)
    sys.stdout.write(told[half:] + "\n")
    sys.stdout.flush()
    os.write(2, f"written {told}\n".encode())
    encoded = base64.b64encode(f"user:{told}".encode()).decode()
    sys.stdout.write(f"base64 {encoded} {quote(told)} {told!r}\n")
    ctypes.CDLL(None).puts(f"by a C library {told}".encode())
    subprocess.run(["cat"], input=f"by a child {told}\n".encode(), check=True)


def _fail(context: Context, params: SecretiveParams, told: str) -> None:
    if params.deed == "raise":
        raise ValueError("x" * (1990 - len(told)) + f"raised {told}")
    if params.deed == "hint":
        raise AlgorithmError(f"sorry {told}", f"hint {told}")
    if params.deed == "connect":
        assert params.connection is not None
        context.connection(params.connection).tables()
    sys.stdout.flush()
    os.write(1, f"last words {told}\n".encode())
    if params.deed == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    os._exit(3)
