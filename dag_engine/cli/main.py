"""The `dagengine` command. Each subcommand is imported when it is called, so that the program
starts at once.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Any

import click

from dag_engine.cli.controls import show_controls
from dag_engine.cli.errors import EXIT_INTERRUPTED, EXIT_USAGE, CliError

_COMMANDS = {
    "serve": ("serve:serve", "Run everything on this machine: API, scheduler, operator engine."),
    "dag-engine": ("serve:dag_engine", "Run API and scheduler; operator engines run elsewhere."),
    "operator-engine": ("serve:operator_engine", "Run an operator engine for a dag engine."),
    "demo": ("demo:demo", "Run the German credit example from start to end."),
    "validate": ("run:validate", "Check a DAG file and tell every problem."),
    "run": ("run:run", "Start a run of a DAG file or of a stored DAG."),
    "runs": ("runs:runs", "List, watch and control runs."),
    "logs": ("runs:logs", "Print the log of an operator of a run."),
    "dags": ("dags:dags", "List and change stored DAGs."),
    "algorithms": ("algorithms:algorithms", "Show what operators can run; check your own."),
    "datasets": ("datasets:datasets", "Register and show data."),
    "connections": ("connections:connections", "Store and show named database connections."),
    "secrets": ("secrets:secrets", "Store secrets, and change the key that seals them."),
    "tokens": ("tokens:tokens", "Make and revoke API tokens."),
    "db": ("db:db", "Make, check, copy or clear the database."),
    "config": ("config:config", "Show the configuration."),
    "version": ("version:version", "Print the version."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and summaries without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names in the order of use."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command that is called."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(
            importlib.import_module(f"dag_engine.cli.commands.{module}"), name
        )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and name the nearest one where there is none."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from their summaries."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 succeeded, 1 failed, 2 wrong usage or configuration, 3 cancelled, "
    "4 the dag engine cannot be reached, 5 refused by the dag engine, 6 not finished yet.",
)
def cli() -> None:
    """Run DAGs of machine-learning operators.

    `dagengine serve` starts everything on this machine; the other commands talk to it over HTTP
    (--url or DAGENGINE_URL, by default http://127.0.0.1:8080).
    """


def main() -> None:
    """Run the program and exit with its outcome."""
    _speak_utf8()
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors become sentences on stderr."""
    try:
        result: Any = cli.main(arguments, prog_name="dagengine", standalone_mode=False)
    except CliError as error:
        click.echo(show_controls(f"Error: {error}"), err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader (`| head`) has seen enough; nothing may be flushed into the pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0


def _speak_utf8() -> None:
    """Print Chinese as Chinese also where the locale says otherwise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
