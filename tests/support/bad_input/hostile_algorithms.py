"""Algorithms for the suite of bad input: plain ones, and some that attack the engine they run in.

Loaded by the service from a folder of their own, so nothing of the tests is imported here.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from algorithms.base import Context, Port, algorithm

REPORT = [Port("report", "report")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EchoParams(Strict):
    text: str = ""
    number: int = 0
    ratio: float = Field(0.5, ge=0, le=1)
    choice: Literal["one", "two"] = "one"
    words: list[str] = []
    is_on: bool = False


@algorithm(
    "bad_echo",
    title="Give the parameters back",
    inputs=[Port("before", "any", optional=True, many=True)],
    outputs=REPORT,
    cacheable=False,
)
def bad_echo(context: Context, params: EchoParams, before: list[Any]) -> dict[str, Any]:
    """Give the parameters back as a report."""
    return {"text": params.text, "number": params.number, "n_before": len(before)}


class NeedsParams(Strict):
    name: str


@algorithm(
    "bad_needs", title="Need a parameter and one input", inputs=[Port("one", "report")],
    outputs=[Port("rows", "table")],
)  # fmt: skip
def bad_needs(context: Context, params: NeedsParams, one: dict[str, Any]) -> Any:
    """Never runs: it is there to be misused."""
    raise NotImplementedError


class SpeakParams(Strict):
    text: str
    fails: bool = False


@algorithm("bad_speak", title="Write to the log", outputs=REPORT, cacheable=False)
def bad_speak(context: Context, params: SpeakParams) -> dict[str, Any]:
    """Write a text to the log, and fail with it where asked."""
    os.write(1, params.text.encode() + b"\n")
    context.log.info("%s", params.text)
    if params.fails:
        raise ValueError(params.text)
    return {}


class MatchParams(Strict):
    pattern: str
    text: str


@algorithm("bad_match", title="Match a pattern", outputs=REPORT, cacheable=False)
def bad_match(context: Context, params: MatchParams) -> dict[str, Any]:
    """Match a pattern of the user's, as an operator for texts would."""
    return {"matches": re.match(params.pattern, params.text) is not None}


class FolderParams(Strict):
    folder: str


@algorithm("bad_look", title="Look at the worker's surroundings", outputs=REPORT, cacheable=False)
def bad_look(context: Context, params: Strict) -> dict[str, Any]:
    """Tell what a curious operator finds: its environment, and who may enter its folder."""
    mode = oct(context.workdir.stat().st_mode & 0o777)
    return {"workdir_mode": mode, "own": dict(os.environ)}


@algorithm("bad_table", title="Make a table", outputs=[Port("rows", "table")], cacheable=False)
def bad_table(context: Context, params: Strict) -> Any:
    """Make a table of three rows."""
    import pyarrow as pa

    return pa.table({"x": [1.0, 2.0, 3.0], "y": [0, 1, 1]})


@algorithm(
    "bad_take",
    title="Take a table",
    inputs=[Port("rows", "table"), Port("after", "report", optional=True)],
    outputs=[Port("rows", "table")],
    cacheable=False,
)
def bad_take(context: Context, params: Strict, rows: Any, after: Any) -> Any:
    """Give a table on."""
    context.log.info("this line must not be written elsewhere")
    return rows


class PlantParams(Strict):
    what: Literal["symlink", "hard link", "folder", "log", "run of logs"]
    index: int
    outside: str


@algorithm(
    "bad_plant",
    title="Plant a link in the store",
    inputs=[Port("one", "any")],
    outputs=REPORT,
    cacheable=False,
)
def bad_plant(context: Context, params: PlantParams, one: Any) -> dict[str, Any]:
    """Put a link where an artifact, a folder or a log of another attempt is expected."""
    file = Path(one.uri.removeprefix("file://"))
    run_folder, store = file.parents[2], file.parents[4]
    outside = Path(params.outside)
    logs = store / "logs" / run_folder.name
    if params.what in ("symlink", "hard link"):
        outside.write_bytes(b"s" * one.size_bytes)
        file.unlink()
        (file.symlink_to if params.what == "symlink" else file.hardlink_to)(outside)
    elif params.what == "folder":
        (run_folder / str(params.index)).symlink_to(outside)
    elif params.what == "log":
        logs.mkdir(exist_ok=True)  # as yet nobody has written anything
        (logs / f"{params.index}.1.log").symlink_to(outside)
    else:
        if logs.exists():
            logs.rename(logs.with_name("moved"))
        logs.symlink_to(outside)
    return {}


class OpenParams(Strict):
    path: str
    kind: Literal["table", "model", "report"]


@algorithm(
    "bad_open",
    title="Open a planted artifact",
    inputs=[Port("one", "any")],
    outputs=REPORT,
    cacheable=False,
)
def bad_open(context: Context, params: OpenParams, one: Any) -> dict[str, Any]:
    """Open a file that was put into the store as if an operator had left it; measure the cost."""
    target = Path(one.uri.removeprefix("file://")).with_name("planted" + Path(params.path).suffix)
    shutil.copyfile(params.path, target)
    reference = {
        "type": params.kind,
        "uri": f"file://{target}",
        "size_bytes": target.stat().st_size,
        "sha256": "0" * 64,
    }
    Path("/proc/self/clear_refs").write_text("5")
    before_kb, began = read_status("VmRSS"), time.process_time()
    try:
        opened = context.load(reference)
    finally:
        context.metric("cpu_s", time.process_time() - began)
        context.metric("growth_kb", read_status("VmHWM") - before_kb)
        target.unlink()
    return {"type": type(opened).__name__, "text": str(opened)[:500]}


def read_status(name: str) -> int:
    """Read a size of this process in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@algorithm("bad_wait", title="Wait for a file", outputs=REPORT, cacheable=False)
def bad_wait(context: Context, params: FolderParams) -> dict[str, Any]:
    """Wait until a file of the name `go` is in a folder."""
    while not Path(params.folder, "go").exists():
        time.sleep(0.01)
    return {"waited": True}
