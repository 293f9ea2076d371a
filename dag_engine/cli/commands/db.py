"""`dagengine db`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dag_engine.cli.ages import parse_age
from dag_engine.cli.errors import EXIT_FAILED, EXIT_SUCCEEDED, ServiceError, UsageError
from dag_engine.cli.options import configuration_options

if TYPE_CHECKING:
    from dag_engine.storage.backup_file import Backup


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
    from dag_engine.storage.errors import SchemaOutdatedError

    with open_installation(config_file, home, database_url) as database:
        warnings = preflight.check_settings(database)
        state = migrate.check_database(database)
    for warning in warnings:
        click.echo(f"warning: {warning}")
    if state.is_current:
        click.echo(f"The tables are at {state.needed}, as this version needs them.")
        return EXIT_SUCCEEDED
    click.echo(str(SchemaOutdatedError(*state)))
    return EXIT_FAILED


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@configuration_options
def backup(file: Path, config_file: str | None, home: str | None, database_url: str | None) -> int:
    """Copy the database into FILE while the services go on.

    FILE can be restored into SQLite and into MySQL or MariaDB, whichever it came from. Copy the
    artifact store after it, and once the folder's `secret`: neither is part of FILE.
    """
    from importlib.metadata import version

    from dag_engine.cli.database import open_installation
    from dag_engine.storage.backup import back_up, note_backup

    if file.exists():
        raise UsageError(f"{file} exists already. Name a new file.")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {file.absolute().parent}. Make it first.")
    with open_installation(config_file, home, database_url) as database:
        try:
            made = back_up(database, file, program=version("dagengine"))
        except OSError as error:
            raise ServiceError(
                f"The copy cannot be written: {error}.",
                "Make room or see to the rights of its folder, or name another.",
            ) from error
        note_backup(database, made)
    click.echo(f"The database is copied into {file}: {describe_backup(made)}.")
    return EXIT_SUCCEEDED


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@configuration_options
def restore(file: Path, config_file: str | None, home: str | None, database_url: str | None) -> int:
    """Replace the database by the copy in FILE. Stop all services before.

    The copy is checked to its end before anything is changed; an older one is upgraded. A
    damaged SQLite file is replaced, and kept under another name.
    """
    from dag_engine.cli.database import load_installation, open_installation
    from dag_engine.cli.home import lock_home
    from dag_engine.storage.restore import restore as restore_database

    installation = load_installation(config_file, home, database_url)
    with (
        lock_home(installation.home),
        open_installation(config_file, home, database_url) as database,
    ):
        restored = restore_database(database, file)
    click.echo(f"The database is what {file} holds: {describe_backup(restored.backup)}.")
    if restored.damaged is not None:
        click.echo(f"The old file was damaged and is kept as {restored.damaged}.")
    if restored.afterlife.n_open_runs:
        click.echo(
            f"{restored.afterlife.n_open_runs} runs are not over and go on when the services are "
            f"started; their attempts are numbered from {restored.afterlife.step} on."
        )
    return EXIT_SUCCEEDED


def describe_backup(backup: Backup) -> str:
    """Describe a copy in a few words."""
    n_rows = backup.n_rows
    return (
        f"{n_rows.get('runs', 0)} runs, {n_rows.get('tasks', 0)} tasks, {sum(n_rows.values())} "
        f"rows of {backup.head.made_at:%Y-%m-%d %H:%M:%S} UTC, schema {backup.head.schema}, "
        f"{backup.size_bytes / 1e6:.1f} MB, sha256 {backup.digest[:16]}…"
    )


@db.command()
@click.option("--older-than", "age", required=True, help="Age, such as 12h, 30d or 8w.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Tell what would go, and delete nothing.")
@configuration_options
def prune(
    age: str, is_dry: bool, config_file: str | None, home: str | None, database_url: str | None
) -> int:
    """Delete runs that ended longer ago than an age, with their artifacts and logs.

    A run whose results a newer run uses is kept. Idempotency keys of that age are forgotten. The
    services may go on; to have it done by itself, set `retention` in the configuration.
    """
    from dag_engine.cli.database import load_installation, open_installation
    from dag_engine.config import RetentionConfig
    from dag_engine.scheduler.housekeeping import Housekeeper

    days = parse_age(age) / dt.timedelta(days=1)
    policy = RetentionConfig(runs_days=days, orphans_days=None, keys_days=days)
    store_url = load_installation(config_file, home, database_url).store_url
    with open_installation(config_file, home, database_url) as database:
        tidied = Housekeeper(database, store_url, policy, is_dry=is_dry).tidy()
    before = dt.datetime.now(dt.UTC) - parse_age(age)
    verb = "would be" if is_dry else "are"
    click.echo(
        f"{tidied.n_runs} runs that ended before {before:%Y-%m-%d %H:%M} UTC {verb} deleted."
    )
    if tidied.n_kept:
        click.echo(f"{tidied.n_kept} are kept, since newer runs use their results.")
    if tidied.n_failed:
        click.echo(f"{tidied.n_failed} folders cannot be removed; the next look tries again.")
        return EXIT_FAILED
    return EXIT_SUCCEEDED
