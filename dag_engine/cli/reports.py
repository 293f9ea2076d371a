"""Evaluation reports of a run, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dag_engine.cli.client import Client, api
from dag_engine.cli.controls import show_controls
from dag_engine.cli.errors import RefusedError
from dag_engine.cli.output import print_aligned

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_MAX_COLUMNS = 6


def fetch_reports(
    client: Client, run_id: str, tasks: list[dict[str, Any]]
) -> list[tuple[str, dict[str, Any]]]:
    """Fetch every report of a run with the name of the operator that made it."""
    reports = []
    for task in tasks:
        for output in task.get("outputs") or []:
            if output.get("type") != "report":
                continue
            path = api(
                "runs", run_id, "tasks", task["operator"], "outputs", str(output["port"]), "content"
            )
            try:
                content = client.get(path)
            except RefusedError:
                continue  # the artifact is gone: the run's outcome stands all the same
            if isinstance(content, dict):
                reports.append((_name(task, tasks), content))
    return reports


def print_reports(reports: list[tuple[str, dict[str, Any]]], console: Console) -> None:
    """Print the figures of reports, a column for each."""
    for start in range(0, len(reports), _MAX_COLUMNS):
        part = reports[start : start + _MAX_COLUMNS]
        figures = [list_figures(show_controls(content)) for _, content in part]
        names = list(dict.fromkeys(name for figure in figures for name in figure))
        if not names:
            continue
        table = _make_table([show_controls(name) for name, _ in part])
        for name in names:
            values = [figure.get(name) for figure in figures]
            table.add_row(name, *_mark_best(name, values))
        console.print()
        print_aligned(table, console)


def list_figures(content: dict[str, Any]) -> dict[str, Any]:
    """List the single figures of a report: its metrics, then the confusion matrix in words."""
    metrics = content.get("metrics")
    source = metrics if isinstance(metrics, dict) else content
    figures = {
        str(name): value
        for name, value in source.items()
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    }
    confusion = content.get("confusion_matrix") or source.get("confusion_matrix")
    if isinstance(confusion, dict):
        for name in ("true_positive", "false_positive", "true_negative", "false_negative"):
            if name in confusion:
                figures[name] = confusion[name]
    return figures


def _make_table(titles: list[str]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for title in titles:
        table.add_column(Text(title), justify="right")
    return table


def _mark_best(name: str, values: list[Any]) -> list[str]:
    """Print the values of a line; the best of several is bold where it is known what is best."""
    shown = [_show(value) for value in values]
    numbers = [value for value in values if isinstance(value, float)]
    if len(values) < 2 or len(numbers) != len(values) or len(set(shown)) < 2:
        return shown
    best = min(numbers) if "loss" in name.lower() else max(numbers)
    return [
        f"[bold green]{text}[/]" if value == best else text
        for value, text in zip(values, shown, strict=True)
    ]


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "-" if value is None else str(value).replace("[", r"\[")


def _name(task: dict[str, Any], tasks: list[dict[str, Any]]) -> str:
    title = task.get("title") or task["operator"]
    is_alone = sum((other.get("title") or other["operator"]) == title for other in tasks) == 1
    return str(title) if is_alone else f"{title}\n{task['operator']}"
