"""Makes the database ready, in a process that ends before the services start, so that the
launcher stays small: `python -m dag_engine.cli.preparation SETTINGS`.

The answer is a line of JSON on stdout.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dag_engine.cli.errors import ServiceError
from dag_engine.config import Config, read_settings, settings_path

if TYPE_CHECKING:
    from dag_engine.storage.database import Database


@dataclass(frozen=True, slots=True)
class Preparation:
    """What became of it: warnings, whether there are tokens, or why the service must not start."""

    warnings: list[str]
    has_tokens: bool = False
    problem: str = ""
    cure: str = ""


def prepare_database(settings: int) -> Preparation:
    """Make the SQLite tables, or check those of another database. Raises `ServiceError`.

    `settings` is what `hold_settings` returned.
    """
    command = [sys.executable, "-m", "dag_engine.cli.preparation", str(settings_path(settings))]
    found = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        pass_fds=(settings,),
    )
    if found.returncode != 0:
        raise ServiceError(
            "The database could not be prepared.", found.stderr.decode(errors="replace").rstrip()
        )
    preparation = Preparation(**json.loads(found.stdout))
    if preparation.problem:
        raise ServiceError(preparation.problem, preparation.cure)
    return preparation


def prepare(config: Config) -> Preparation:
    """Do it in this process."""
    from dag_engine.storage import migrate, preflight, tokens
    from dag_engine.storage.database import open_database
    from dag_engine.storage.errors import SchemaOutdatedError, StorageError

    if problem := _prepare_store(config):
        return problem
    try:
        database = open_database(config)
    except StorageError as error:
        return Preparation([], problem=str(error))
    try:
        warnings = [str(finding) for finding in preflight.check_settings(database)]
        if database.path is not None:
            migrate.upgrade_database(database)
        state = migrate.check_database(database)
        if not state.is_current:
            return Preparation(warnings, problem=str(SchemaOutdatedError(*state)))
        warnings += _check_keys(config, database)
        return Preparation(warnings, has_tokens=bool(tokens.list_digests(database)))
    except StorageError as error:
        return Preparation([], problem=str(error))
    except OSError as error:
        return Preparation([], problem=f"The database cannot be used: {error}")
    finally:
        database.close()


def _check_keys(config: Config, database: Database) -> list[str]:
    """Make the key of secrets at the first start. A lost one is told, and stops nothing: only what
    needs it fails.
    """
    from dag_engine.storage.errors import SecretKeyError
    from dag_engine.storage.vault import Vault

    vault = Vault(config, lambda: database)
    try:
        ring, lost = vault.check_keys()
    except (SecretKeyError, OSError) as error:
        return [f"Stored secrets and connections cannot be used: {error}"]
    if not lost:
        return []
    return [
        f"Some stored secrets or connections cannot be opened: they are sealed with key "
        f"{', '.join(lost)}, and {ring.source} holds {', '.join(ring.ids())}. Put the old key "
        "back beside the new one, or store them anew."
    ]


def _prepare_store(config: Config) -> Preparation | None:
    """Make the store's marker before the services look for it, each at its own time."""
    from executors.store import ensure_marker

    try:
        ensure_marker(config.store_url)
    except (OSError, ValueError, ImportError) as error:
        return Preparation(
            [],
            problem=f"The artifact store {config.store_url} cannot be used: {error}.",
            cure="Name another by store.url; one on s3 and the like needs its fsspec package.",
        )
    return None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(prepare(read_settings(Path(sys.argv[1]))))))
