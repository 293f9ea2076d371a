"""`dagengine db`."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import click

from dag_engine.cli.errors import EXIT_FAILED, EXIT_SUCCEEDED, UsageError
from dag_engine.cli.options import configuration_options


@click.group()
def db() -> None:
    """Make, check, copy or clear the tables of the database."""


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


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@configuration_options
def backup(file: Path, config_file: str | None, home: str | None, database_url: str | None) -> int:
    """Copy the database into FILE while the services go on.

    SQLite only: a server's database is copied by the server's own programs. The artifact store
    is not part of the copy.
    """
    from dag_engine.cli.database import open_installation
    from dag_engine.storage import maintenance

    if file.exists():
        raise UsageError(f"{file} exists already. Name a new file.")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {file.absolute().parent}. Make it first.")
    with open_installation(config_file, home, database_url) as database:
        maintenance.back_up(database, file)
    click.echo(f"The database is copied into {file} ({file.stat().st_size / 1e6:.1f} MB).")
    return EXIT_SUCCEEDED


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@configuration_options
def restore(file: Path, config_file: str | None, home: str | None, database_url: str | None) -> int:
    """Replace the database by the copy in FILE. Stop the services before."""
    from dag_engine.cli.database import open_installation
    from dag_engine.storage import maintenance

    with open_installation(config_file, home, database_url) as database:
        maintenance.restore(database, file)
    click.echo(f"The database is what it was when {file} was made.")
    return EXIT_SUCCEEDED


@db.command()
@click.option("--older-than", "age", required=True, help="Age, such as 12h, 30d or 8w.")
@configuration_options
def prune(age: str, config_file: str | None, home: str | None, database_url: str | None) -> int:
    """Delete runs that ended longer ago than an age, with their artifacts and logs.

    A run whose results a newer run uses is kept. Idempotency keys of that age are forgotten.
    """
    from dag_engine.cli.database import load_installation, open_installation
    from dag_engine.storage import idempotency, maintenance
    from executors.store import join_url, make_run_folder, remove_folder

    before = dt.datetime.now(dt.UTC) - parse_age(age)
    store_url = load_installation(config_file, home, database_url).store_url
    n_deleted, kept = 0, set[str]()
    with open_installation(config_file, home, database_url) as database:
        while old := maintenance.find_old_runs(database, before, skip=kept):
            kept |= maintenance.find_providers(database, old) & set(old)
            chosen = [run_id for run_id in old if run_id not in kept]
            n_deleted += maintenance.delete_runs(database, chosen)
            for run_id in chosen:
                remove_folder(make_run_folder(store_url, run_id))
                remove_folder(join_url(store_url, "logs", run_id))
        maintenance.prune_stale_reports(database, before)
        idempotency.prune_keys(database, before)
    click.echo(f"{n_deleted} runs that ended before {before:%Y-%m-%d %H:%M} UTC are deleted.")
    if kept:
        click.echo(f"{len(kept)} are kept, since newer runs use their results.")
    return EXIT_SUCCEEDED


def parse_age(text: str) -> dt.timedelta:
    """Read an age such as `12h`, `30d` or `8w`. Raises `UsageError`."""
    match = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no age. Write a number with h, d or w: 12h, 30d, 8w.")
    units = {"h": "hours", "d": "days", "w": "weeks"}
    return dt.timedelta(**{units[match[2]]: int(match[1])})
