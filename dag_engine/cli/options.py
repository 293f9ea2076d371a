"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from dag_engine.cli.errors import UsageError
from dag_engine.core.access import NAMESPACE_RULE, is_namespace

Command = Callable[..., Any]


_NAMESPACE = f"{__name__}.namespace"


def _note_namespace(context: click.Context, _: click.Parameter, value: str) -> None:
    context.meta[_NAMESPACE] = value and check_namespace(value)


def check_namespace(name: str) -> str:
    """Give a namespace back, or say which ones there can be."""
    if not is_namespace(name):
        raise UsageError(f"{name!r} cannot be a namespace.", f"It is {NAMESPACE_RULE}.")
    return name


def chosen_namespace() -> str:
    """Return what --namespace of the command that runs says; empty for the token's own."""
    context = click.get_current_context(silent=True)
    return str(context.meta.get(_NAMESPACE, "")) if context is not None else ""


def client_options(command: Command) -> Command:
    """Add --url and --token, by which client commands find the API, and --namespace, which their
    client asks for by itself.
    """
    command = click.option(
        "--namespace",
        envvar="DAGENGINE_NAMESPACE",
        default="",
        expose_value=False,
        callback=_note_namespace,
        help="Act in this namespace; for admins. [env: DAGENGINE_NAMESPACE; default: the token's]",
    )(command)
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
