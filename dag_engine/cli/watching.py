"""Follows a run to its end: a line for every operator, live on a terminal, plain elsewhere."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from dag_engine.cli.client import Client, api
from dag_engine.cli.controls import show_controls
from dag_engine.cli.errors import (
    EXIT_CANCELLED,
    EXIT_FAILED,
    EXIT_STILL_RUNNING,
    EXIT_SUCCEEDED,
    UnreachableError,
)
from dag_engine.cli.output import STATE_STYLES, parse_moment, show_seconds

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

Run = dict[str, Any]
Task = dict[str, Any]

FINAL_STATES = {"succeeded", "failed", "cancelled"}
_PATIENCE_S = 60.0
_MAX_FAILURES = 10
_LONGEST_NAME = 30
_MARKS = {
    "succeeded": "✓",
    "failed": "✗",
    "upstream_failed": "✗",
    "cancelled": "⊘",
    "skipped": "–",
    "retrying": "↻",
    "pending": "·",
    "ready": "·",
    "queued": "∘",
    "running": "●",
}


def find_exit_code(run: Run) -> int:
    """Tell the exit code that stands for the state of a run."""
    codes = {"succeeded": EXIT_SUCCEEDED, "failed": EXIT_FAILED, "cancelled": EXIT_CANCELLED}
    return codes.get(run["state"], EXIT_STILL_RUNNING)


def watch_run(client: Client, run_id: str, console: Console) -> tuple[Run, list[Task]]:
    """Show how a run goes on until it ends; answers the run and its tasks as they are then."""
    if console.is_terminal:
        return _watch_live(client, run_id, console)
    return _watch_plainly(client, run_id, console)


def follow_run(
    client: Client, run_id: str, tell: Callable[[str], None]
) -> Iterator[tuple[Run, list[Task]]]:
    """Give the run and its tasks again and again, the last time when it has ended.

    A dag engine that is away for up to a minute is waited for.
    """
    wait_s = 0.0
    silent_since = 0.0
    while True:
        try:
            run = client.get(api("runs", run_id), {"wait_s": wait_s})
            tasks = list(client.iterate(api("runs", run_id, "tasks"), limit=None))
        except UnreachableError as error:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > _PATIENCE_S:
                raise
            tell(show_controls(f"The dag engine does not answer ({error.detail}); trying again."))
            time.sleep(1.0)
            continue
        silent_since = 0.0
        yield run, tasks
        if run["state"] in FINAL_STATES:
            return
        # large runs are asked for less often: a page of a thousand tasks costs what it costs
        wait_s = 0.3 + len(tasks) / 500


def wait_silently(client: Client, run_id: str) -> tuple[Run, list[Task]]:
    """Wait for the end of a run without a word."""
    return deque(follow_run(client, run_id, lambda _: None), maxlen=1)[-1]


def describe_end(run: Run, tasks: list[Task]) -> str:
    """Say in a line how a run ended."""
    counts = Counter(task["state"] for task in tasks)
    parts = ", ".join(f"{number} {state}" for state, number in counts.most_common())
    took = ""
    if run.get("started_at") and run.get("ended_at"):
        seconds = parse_moment(run["ended_at"]) - parse_moment(run["started_at"])
        took = f" in {show_seconds(seconds.total_seconds())}"
    return f"Run {run['id']} {run['state']}{took}: {parts}"


def describe_failures(client: Client, run_id: str, tasks: list[Task]) -> list[str]:
    """Say of every failed task why it failed, how to cure it and where its log is."""
    failed = [task for task in tasks if task["state"] == "failed"]
    lines = []
    for task in failed[:_MAX_FAILURES]:
        lines.append(f"{name_task(task)} failed: {describe_reason(task) or 'no reason is told'}")
        attempts = client.get(api("runs", run_id, "tasks", task["operator"])).get("attempts") or []
        if attempts and attempts[-1].get("hint"):
            lines.append(f"    hint: {attempts[-1]['hint']}")
        lines.append(f"    log: dagengine logs {run_id} {task['operator']}")
    if len(failed) > _MAX_FAILURES:
        lines.append(f"and {len(failed) - _MAX_FAILURES} more: dagengine runs get {run_id}")
    return lines


def name_task(task: Task) -> str:
    """Name a task by its title, with the operator's id where that says more."""
    title = task.get("title")
    return f"{title} [{task['operator']}]" if title else str(task["operator"])


def describe_reason(thing: dict[str, Any]) -> str:
    """Describe why a run, a task or an attempt is in its state: sentence and code."""
    code, message = thing.get("reason") or "", thing.get("message") or ""
    if code and message:
        return f"{message} [{code}]"
    return str(message or code)


def _watch_plainly(client: Client, run_id: str, console: Console) -> tuple[Run, list[Task]]:
    """Print a line whenever an operator changes its state."""
    told: dict[str, tuple[str, int]] = {}
    end: tuple[Run, list[Task]] = ({}, [])
    for end in follow_run(client, run_id, console.print):
        for task in end[1]:
            now = (task["state"], task.get("attempt") or 0)
            if told.get(task["operator"], ("pending", 0)) != now:
                console.print(show_controls(_describe_change(task)), markup=False)
            told[task["operator"]] = now
    return end


def _describe_change(task: Task) -> str:
    clock = dt.datetime.now().astimezone().strftime("%H:%M:%S")
    line = f"{clock}  {_MARKS.get(task['state'], ' ')} {name_task(task)}: {task['state']}"
    if (task.get("attempt") or 0) > 1:
        line += f" (attempt {task['attempt']})"
    if task["state"] in FINAL_STATES and (took := _find_seconds(task)) is not None:
        line += f" in {show_seconds(took)}"
    if task["state"] not in {"succeeded", "running", "queued"} and describe_reason(task):
        line += f" - {describe_reason(task)}"
    elif task.get("reason") == "cached":
        line += " - cached"
    return line


def _watch_live(client: Client, run_id: str, console: Console) -> tuple[Run, list[Task]]:
    from rich.live import Live

    end: tuple[Run, list[Task]] = ({}, [])
    with Live(console=console, refresh_per_second=8, vertical_overflow="crop") as live:
        for end in follow_run(client, run_id, console.print):
            run, tasks = end
            is_over = run["state"] in FINAL_STATES
            height = len(tasks) if is_over else max(console.size.height - 3, 5)
            live.update(_render(run, tasks, height), refresh=True)
    return end


def _render(run: Run, tasks: list[Task], height: int) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1), expand=True)
    # Where a terminal is narrow, a long reason gives way, not the name and the state.
    for share in (None, None, None, None, 1):
        table.add_column(ratio=share, no_wrap=True, overflow="ellipsis")
    shown = show_controls(_choose(tasks, height))
    for task in shown:
        state = task["state"]
        style = STATE_STYLES.get(state, "dim")
        took = _find_seconds(task)
        table.add_row(
            _render_mark(state, style),
            _shorten(task.get("title") or task["operator"]),
            Text(state, style),
            Text("" if took is None else show_seconds(took), "dim", justify="right"),
            Text(_describe_detail(task), "dim"),
        )
    if len(shown) < len(tasks):
        counts = Counter(task["state"] for task in tasks)
        summary = ", ".join(f"{number} {state}" for state, number in counts.most_common())
        return Group(table, Text(f"{len(tasks)} operators: {summary}", "bold"))
    return Group(table, Text(show_controls(f"run {run['id']}: {run['state']}"), "dim"))


def _shorten(name: str) -> Text:
    from rich.text import Text

    text = Text(name)
    text.truncate(_LONGEST_NAME, overflow="ellipsis")
    return text


def _render_mark(state: str, style: str) -> RenderableType:
    from rich.spinner import Spinner
    from rich.text import Text

    if state == "running":
        return Spinner("dots", style="cyan")
    return Text(_MARKS.get(state, " "), style)


def _choose(tasks: list[Task], height: int) -> list[Task]:
    """Choose what is shown where there are more operators than lines: what moves comes first."""
    if len(tasks) <= height:
        return tasks
    order = ("running", "retrying", "failed", "queued", "ready", "succeeded", "cancelled")
    ranks = {state: rank for rank, state in enumerate(order)}
    ranked = sorted(range(len(tasks)), key=lambda n: ranks.get(tasks[n]["state"], len(order)))
    return [tasks[number] for number in sorted(ranked[:height])]


def _describe_detail(task: Task) -> str:
    if task["state"] == "running":
        progress = task.get("progress") or {}
        done, total = progress.get("done") or 0, progress.get("total") or 0
        share = f"{done / total:.0%} " if total else ""
        return f"{share}{progress.get('message') or ''}".strip()
    if task["state"] == "succeeded":
        return "cached" if task.get("reason") == "cached" else _describe_outputs(task)
    return describe_reason(task)


def _describe_outputs(task: Task) -> str:
    parts = []
    for output in task.get("outputs") or []:
        rows = output.get("rows")
        parts.append(f"{rows:,} rows" if rows is not None else str(output.get("type", "")))
    return ", ".join(parts)


def _find_seconds(task: Task) -> float | None:
    if not task.get("started_at"):
        return None
    ended = task.get("ended_at")
    if ended is None and task["state"] != "running":
        return None
    end = parse_moment(ended) if ended else dt.datetime.now(dt.UTC)
    return max((end - parse_moment(task["started_at"])).total_seconds(), 0.0)


def hold_interrupt(run_id: str, console: Console) -> AbstractContextManager[None]:
    """Say on Ctrl-C that the run goes on, and how to come back to it."""
    return _Farewell(run_id, console) if run_id else nullcontext()


class _Farewell(AbstractContextManager[None]):
    def __init__(self, run_id: str, console: Console) -> None:
        self._run_id = run_id
        self._console = console

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._console.print(
                f"\nThe run goes on. See it again: dagengine runs watch {self._run_id}\n"
                f"Stop it: dagengine runs cancel {self._run_id}",
                markup=False,
            )
