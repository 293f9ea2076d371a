"""Prints answers as table, JSON or YAML; wide characters stay aligned, Chinese stays Chinese."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from dag_engine.cli.controls import escape_controls, has_controls, show_controls

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

UNLIMITED_WIDTH = 10_000

STATE_STYLES = {
    "succeeded": "green",
    "failed": "bold red",
    "upstream_failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "retrying": "magenta",
}


def print_answer(value: Any, output: str, show: Callable[[Any], None]) -> None:
    """Print an answer as the user asked; `show` prints it for people, to whom control characters
    are pictures. To programs they are what they are, and escaped: a terminal obeys none either.
    """
    if output == "json":
        click.echo(escape_controls(json.dumps(value, ensure_ascii=False, indent=2)))
    elif output == "yaml":
        click.echo(_write_yaml(value), nl=False)
    else:
        show(show_controls(value))


def _write_yaml(value: Any) -> str:
    import yaml

    text = str(yaml.safe_dump(value, allow_unicode=True, sort_keys=False))
    return str(yaml.safe_dump(value, sort_keys=False)) if has_controls(text) else text


def make_console(*, is_error: bool = False) -> Console:
    """Make a console; what goes into a pipe or file is not cut at a width."""
    from rich.console import Console

    stream = sys.stderr if is_error else sys.stdout
    width = None if stream.isatty() else UNLIMITED_WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str = "") -> None:
    """Print rows under their headings, without lines between them."""
    if not rows and empty:
        click.echo(empty)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        # What comes first is an id: it is there to be copied.
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(text, STATE_STYLES.get(text, "")) for text in map(show_value, row)))
    print_aligned(table)


def print_facts(facts: Sequence[tuple[str, Any]]) -> None:
    """Print names and values, one a line; what is empty is left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts:
        if value not in (None, "", [], {}):
            text = show_value(value)
            table.add_row(name, Text(text, STATE_STYLES.get(text, "")))
    print_aligned(table)


def print_aligned(renderable: RenderableType, console: Console | None = None) -> None:
    """Print a table; into a pipe or file its lines end where their text ends."""
    console = console or make_console()
    if console.is_terminal:
        console.print(renderable)
        return
    with console.capture() as capture:
        console.print(renderable)
    lines = capture.get().splitlines()
    console.print("\n".join(line.rstrip() for line in lines), markup=False)


def show_value(value: Any) -> str:
    """Show a value in a cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def show_moment(value: str | None) -> str:
    """Show a moment of the API in this machine's own time zone."""
    if not value:
        return "-"
    return parse_moment(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def show_duration(started: str | None, ended: str | None) -> str:
    """Show how long something took."""
    if not started or not ended:
        return "-"
    return show_seconds((parse_moment(ended) - parse_moment(started)).total_seconds())


def show_seconds(seconds: float) -> str:
    """Show a duration for people.

    Examples
    --------
    >>> show_seconds(0.25), show_seconds(75), show_seconds(7320)
    ('0.25 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{max(seconds, 0):.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def show_size(size_bytes: float | None) -> str:
    """Show a size for people.

    Examples
    --------
    >>> show_size(999), show_size(2_500_000)
    ('999 B', '2.5 MB')
    """
    if size_bytes is None:
        return "-"
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def parse_moment(value: str) -> dt.datetime:
    """Parse a moment in RFC 3339."""
    return dt.datetime.fromisoformat(value)
