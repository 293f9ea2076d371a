"""What `dagengine secrets` and `dagengine connections` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from dag_engine.cli.options import check_namespace, configuration_options, output_option
from dag_engine.cli.output import print_answer, print_table, show_moment
from dag_engine.core.access import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from dag_engine.storage.secret_rows import SecretKind
    from dag_engine.storage.vault import Listed


def namespace_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --namespace."""
    return click.option(
        "--namespace",
        default=DEFAULT_NAMESPACE,
        show_default=True,
        callback=lambda _context, _option, name: check_namespace(name),
        help="Whose runs may use it.",
    )(command)


def add_list(group: click.Group, kind: SecretKind, about: str) -> None:
    """Give a group the command `list`."""

    @group.command("list", help=about)
    @namespace_option
    @configuration_options
    @output_option
    def list_stored(namespace: str, output: str, **installation: Any) -> None:
        from dag_engine.cli.database import open_vault

        with open_vault(**installation) as vault:
            items = [describe_listed(item) for item in vault.list_all(namespace, kind)]
        print_answer(items, output, lambda found: _print_listed(found, f"There are no {kind}s."))


def add_delete(group: click.Group, kind: SecretKind) -> None:
    """Give a group the command `delete`."""

    @group.command(help=f"Forget a stored {kind}.")
    @click.argument("name")
    @namespace_option
    @configuration_options
    def delete(name: str, namespace: str, **installation: Any) -> None:
        from dag_engine.cli.database import open_vault
        from dag_engine.storage.secret_rows import SecretPlace

        with open_vault(**installation) as vault:
            vault.delete(SecretPlace(namespace, kind, name))
        click.echo(f"The {kind} {name} is deleted.")


def describe_listed(item: Listed) -> dict[str, Any]:
    """Tell of a secret or connection all but its value."""
    record = item.record
    return {
        "name": item.name,
        "source": item.source,
        "key_id": record.key_id if record else None,
        "created_by": record.created_by if record else None,
        "created_at": record.created_at.isoformat() if record else None,
        "updated_at": record.updated_at.isoformat() if record else None,
    }


def _print_listed(items: list[dict[str, Any]], empty: str) -> None:
    """Print a list for people."""
    print_table(
        ("name", "from", "key", "stored by", "changed"),
        [
            (
                item["name"],
                item["source"],
                item["key_id"],
                item["created_by"],
                show_moment(item["updated_at"]),
            )
            for item in items
        ],
        empty=empty,
    )
