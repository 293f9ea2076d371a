"""`dagengine tokens`: works on the installation's own database, so that a first token can be made
before the service listens to others.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from dag_engine.cli.options import configuration_options, output_option
from dag_engine.cli.output import print_answer, print_table, show_moment

if TYPE_CHECKING:
    from dag_engine.storage.database import Database
    from dag_engine.storage.rows import TokenRecord

_ROLE = "admin"


@click.group()
def tokens() -> None:
    """Make and revoke API tokens.

    Works on the database itself (--home, --database-url), so it is run where the dag engine runs.
    As soon as there is a token, every call needs one.
    """


@tokens.command()
@click.argument("name")
@click.option("--days", type=click.IntRange(1, 3650), help="Expires after so many days.")
@configuration_options
@output_option
def add(name: str, days: int | None, output: str, **installation: Any) -> None:
    """Make a token and print it, this once; only its hash is kept."""
    from dag_engine.cli.database import open_installation
    from dag_engine.storage import tokens as stored

    token = f"dagengine_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(token.encode("ascii")).hexdigest()
    expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(days=days) if days else None
    with open_installation(**installation) as database:
        _make_tables(database)
        record = stored.add_token(database, digest, role=_ROLE, name=name, expires_at=expires_at)
    answer = _describe(record) | {"token": token}
    print_answer(answer, output, lambda made: click.echo(made["token"]))
    if output == "table":
        click.echo(
            f"Token {record.id} ({name}) is made. It is shown only here; give it to clients by "
            "--token or DAGENGINE_TOKEN.",
            err=True,
        )


@tokens.command("list")
@configuration_options
@output_option
def list_tokens(output: str, **installation: Any) -> None:
    """List tokens, the revoked ones too; the tokens themselves are not kept."""
    from dag_engine.cli.database import open_installation
    from dag_engine.storage import tokens as stored

    with open_installation(**installation) as database:
        _make_tables(database)
        items = [_describe(record) for record in stored.list_tokens(database)]
    print_answer(items, output, _print_tokens)


@tokens.command()
@click.argument("token_id", metavar="ID")
@configuration_options
def revoke(token_id: str, **installation: Any) -> None:
    """Revoke a token for good; running services follow within seconds."""
    from dag_engine.cli.database import open_installation
    from dag_engine.storage import tokens as stored

    with open_installation(**installation) as database:
        _make_tables(database)
        record = stored.revoke_token(database, token_id)
    click.echo(f"Token {record.id} ({record.name}) is revoked.")


def _make_tables(database: Database) -> None:
    """Make the tables of an SQLite file, as `serve` does; another database is only checked."""
    from dag_engine.storage import migrate, preflight

    if database.path is not None:
        migrate.upgrade_database(database)
    else:
        preflight.check_ready(database)


def _describe(record: TokenRecord) -> dict[str, Any]:
    facts = asdict(record)
    return {
        name: value.isoformat() if isinstance(value, dt.datetime) else value
        for name, value in facts.items()
    }


def _print_tokens(items: list[dict[str, Any]]) -> None:
    print_table(
        ("token", "name", "made", "expires", "revoked"),
        [
            (
                item["id"],
                item["name"],
                show_moment(item["created_at"]),
                show_moment(item["expires_at"]),
                show_moment(item["revoked_at"]),
            )
            for item in items
        ],
        empty="There are no tokens; the service is open to this machine alone.",
    )
