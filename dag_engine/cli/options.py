"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]


def client_options(command: Command) -> Command:
    """Add --url and --token, by which client commands find the API."""
    command = click.option(
        "--token", envvar="DAGENGINE_TOKEN", default="", help="API token. [env: DAGENGINE_TOKEN]"
    )(command)
    return click.option(
        "--url",
        envvar="DAGENGINE_URL",
        default="http://127.0.0.1:8080",
        help="The dag engine. [env: DAGENGINE_URL; default: http://127.0.0.1:8080]",
    )(command)


def output_option(command: Command) -> Command:
    """Add -o json|yaml|table."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="How to print the answer.",
    )(command)


def paging_options(command: Command) -> Command:
    """Add --limit and --all of lists."""
    command = click.option("--all", "is_all", is_flag=True, help="List everything.")(command)
    return click.option(
        "--limit",
        type=click.IntRange(1, 10_000),
        default=50,
        show_default=True,
        help="List at most so many.",
    )(command)


def configuration_options(command: Command) -> Command:
    """Add --config, --home and --database-url of commands that open an installation."""
    command = click.option("--database-url", default=None, help="URL of the database.")(command)
    command = click.option(
        "--home", default=None, help="Folder of everything that is kept. [default: ./var]"
    )(command)
    return click.option(
        "--config",
        "config_file",
        type=click.Path(dir_okay=False),
        default=None,
        help="A configuration file over the defaults.",
    )(command)
