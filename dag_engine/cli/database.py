"""Opens the installation's database for commands that work on it directly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dag_engine.cli.config_loading import load_config
from dag_engine.cli.errors import ServiceError
from dag_engine.cli.flags import collect_flags

if TYPE_CHECKING:
    from dag_engine.config import Config
    from dag_engine.storage.database import Database
    from dag_engine.storage.vault import Vault


def load_installation(
    config_file: str | None, home: str | None, database_url: str | None
) -> Config:
    """Load the configuration as a command's options name it."""
    flags = collect_flags(home=home, database_url=database_url)
    return load_config(Path(config_file) if config_file else None, flags)


def make_tables(database: Database) -> None:
    """Make the tables of an SQLite file, as `serve` does; another database is only checked."""
    from dag_engine.storage import migrate, preflight

    if database.path is not None:
        migrate.upgrade_database(database)
    else:
        preflight.check_ready(database)


@contextmanager
def open_vault(
    config_file: str | None, home: str | None, database_url: str | None
) -> Iterator[Vault]:
    """Open the stored secrets of the installation; errors become sentences."""
    from dag_engine.storage.vault import Vault

    config = load_installation(config_file, home, database_url)
    with open_installation(config_file, home, database_url) as database:
        make_tables(database)
        yield Vault(config, lambda: database)


@contextmanager
def open_installation(
    config_file: str | None, home: str | None, database_url: str | None
) -> Iterator[Database]:
    """Open the database that the configuration names; its errors become sentences."""
    from dag_engine.storage.database import open_database
    from dag_engine.storage.errors import StorageError

    config = load_installation(config_file, home, database_url)
    try:
        database = open_database(config)
        try:
            yield database
        finally:
            database.close()
    except StorageError as error:
        raise ServiceError(str(error)) from error
