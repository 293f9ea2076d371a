"""`dagengine db`."""

from __future__ import annotations

import click

from dag_engine.cli.errors import EXIT_FAILED, EXIT_SUCCEEDED
from dag_engine.cli.options import configuration_options


@click.group()
def db() -> None:
    """Make or check the tables of the database."""


@db.command()
@configuration_options
def upgrade(config_file: str | None, home: str | None, database_url: str | None) -> int:
    """Make the tables, or bring them up to date. Stop the services before an upgrade."""
    from dag_engine.cli.database import open_installation
    from dag_engine.storage import migrate

    with open_installation(config_file, home, database_url) as database:
        before = migrate.upgrade_database(database)
    if before.is_current:
        click.echo(f"The tables are at {before.needed} already.")
    elif before.found:
        click.echo(f"The tables are upgraded from {before.found} to {before.needed}.")
    else:
        click.echo(f"The tables are made, at {before.needed}.")
    return EXIT_SUCCEEDED


@db.command()
@configuration_options
def check(config_file: str | None, home: str | None, database_url: str | None) -> int:
    """Tell whether tables and settings of the database are as this version needs them.

    Exit code 0: they are; 1: they are not.
    """
    from dag_engine.cli.database import open_installation
    from dag_engine.storage import migrate, preflight

    with open_installation(config_file, home, database_url) as database:
        warnings = preflight.check_settings(database)
        state = migrate.check_database(database)
    for warning in warnings:
        click.echo(f"warning: {warning}")
    if state.is_current:
        click.echo(f"The tables are at {state.needed}, as this version needs them.")
        return EXIT_SUCCEEDED
    found = f"at {state.found}" if state.found else "not there"
    click.echo(f"The tables are {found}; this version needs {state.needed}.")
    click.echo("Run: dagengine db upgrade")
    return EXIT_FAILED
