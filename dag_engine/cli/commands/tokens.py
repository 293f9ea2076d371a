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

from dag_engine.cli.ages import parse_age
from dag_engine.cli.options import check_namespace, configuration_options, output_option
from dag_engine.cli.output import print_answer, print_table, show_moment
from dag_engine.core.access import DEFAULT_NAMESPACE, TOKEN_ROLES, Role

if TYPE_CHECKING:
    from dag_engine.storage.rows import TokenRecord


@click.group()
def tokens() -> None:
    """Make and revoke API tokens.

    Works on the database itself (--home, --database-url), so it is run where the dag engine runs.
    As soon as there is a token that is not revoked, every call needs one.
    """


@tokens.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(list(TOKEN_ROLES)),
    default=Role.SUBMITTER.word,
    show_default=True,
    help="What it may do; each role may do what those before it may.",
)
@click.option(
    "--namespace",
    default=DEFAULT_NAMESPACE,
    show_default=True,
    help="Whose definitions, runs and datasets it is for.",
)
@click.option("--expires-in", "age", help="Expires after so long, such as 12h, 30d or 8w.")
@configuration_options
@output_option
def add(
    name: str, role: str, namespace: str, age: str | None, output: str, **installation: Any
) -> None:
    """Make a token and print it, this once; only its hash is kept.

    A viewer looks at runs and results. A submitter also stores definitions and datasets, and starts
    and controls runs. An operator also runs the service: operator engines bear such a token. An
    admin acts in all namespaces.
    """
    from dag_engine.cli.database import make_tables, open_installation
    from dag_engine.storage import tokens as stored

    check_namespace(namespace)
    token = f"dagengine_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(token.encode("ascii")).hexdigest()
    expires_at = dt.datetime.now(dt.UTC) + parse_age(age) if age else None
    with open_installation(**installation) as database:
        make_tables(database)
        record = stored.add_token(
            database, digest, role=role, name=name, namespace=namespace, expires_at=expires_at
        )
    answer = _describe(record) | {"token": token}
    print_answer(answer, output, lambda made: click.echo(made["token"]))
    if output == "table":
        click.echo(
            f"Token {record.id} ({name}) is made: {role} in the namespace {namespace}. It is shown "
            "only here; give it to clients by --token or DAGENGINE_TOKEN.",
            err=True,
        )


@tokens.command("list")
@click.option("--namespace", help="Only those for this namespace.")
@configuration_options
@output_option
def list_tokens(namespace: str | None, output: str, **installation: Any) -> None:
    """List tokens, the revoked ones too; the tokens themselves are not kept."""
    from dag_engine.cli.database import make_tables, open_installation
    from dag_engine.storage import tokens as stored

    with open_installation(**installation) as database:
        make_tables(database)
        found = stored.list_tokens(database, namespace=namespace)
    items = [_describe(record) for record in found]
    print_answer(items, output, _print_tokens)


@tokens.command()
@click.argument("token_id", metavar="ID")
@configuration_options
def revoke(token_id: str, **installation: Any) -> None:
    """Revoke a token for good; running services follow within seconds."""
    from dag_engine.cli.database import make_tables, open_installation
    from dag_engine.storage import tokens as stored

    with open_installation(**installation) as database:
        make_tables(database)
        record = stored.revoke_token(database, token_id)
        is_last = not stored.load_tokens(database)
    click.echo(f"Token {record.id} ({record.name}) is revoked.")
    if is_last:
        click.echo(
            "It was the last one: a service on 127.0.0.1 asks nobody for a token any more, one on "
            "another address lets nobody in.",
            err=True,
        )


def _describe(record: TokenRecord) -> dict[str, Any]:
    facts = asdict(record)
    return {
        name: value.isoformat() if isinstance(value, dt.datetime) else value
        for name, value in facts.items()
    }


def _print_tokens(items: list[dict[str, Any]]) -> None:
    print_table(
        ("token", "name", "role", "namespace", "made", "expires", "revoked"),
        [
            (
                item["id"],
                item["name"],
                item["role"],
                item["namespace"],
                show_moment(item["created_at"]),
                show_moment(item["expires_at"]),
                show_moment(item["revoked_at"]),
            )
            for item in items
        ],
        empty="There are no tokens; the service is open to this machine alone.",
    )
