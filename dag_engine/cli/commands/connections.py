"""`dagengine connections`: works on the installation's own database and key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from dag_engine.cli.errors import CliError
from dag_engine.cli.options import configuration_options, output_option
from dag_engine.cli.output import print_answer, print_facts
from dag_engine.cli.secret_input import check_name, current_user, read_connection, read_secret
from dag_engine.cli.stored_secrets import add_delete, add_list, describe_listed, namespace_option

if TYPE_CHECKING:
    from dag_engine.storage.vault import Vault

_KIND: Literal["connection"] = "connection"


@click.group()
def connections() -> None:
    """Store and show named database connections.

    They are sealed in the database and given to operators by name. Works on the database itself
    (--home, --database-url), so it is run where the dag engine runs.
    """


@connections.command()
@click.argument("name")
@click.option("--url", help="URL, for one without a password: arguments can be read by others.")
@click.option("--from-file", help="A file with the URL or a mapping of settings; - is stdin.")
@namespace_option
@configuration_options
def add(
    name: str, url: str | None, from_file: str | None, namespace: str, **installation: Any
) -> None:
    """Store a connection; one that has the name is replaced.

    Without --url and --from-file the URL is asked for, or read from the standard input.
    """
    from dag_engine.cli.database import open_vault
    from dag_engine.storage.secret_rows import SecretPlace

    check_name(name)
    settings = read_connection(url or read_secret(from_file, "URL of the connection"))
    with open_vault(**installation) as vault:
        place = SecretPlace(namespace, _KIND, name)
        _, is_new = vault.put(place, settings, created_by=current_user())
    click.echo(f"The connection {name} is {'stored' if is_new else 'replaced'}.")


add_list(connections, _KIND, "List the connections by name, also those of the configuration.")
add_delete(connections, _KIND)


@connections.command()
@click.argument("name")
@namespace_option
@configuration_options
@output_option
def show(name: str, namespace: str, output: str, **installation: Any) -> None:
    """Show a connection with all that is secret hidden."""
    from dag_engine.cli.database import open_vault
    from dag_engine.storage.secret_rows import SecretPlace
    from executors.masking import hide_connection

    with open_vault(**installation) as vault:
        listed = vault.find(SecretPlace(namespace, _KIND, name))
        settings = _open(vault, namespace, name)
    answer = describe_listed(listed) | {"settings": hide_connection(settings)}
    print_answer(answer, output, lambda found: print_facts(list(found.items())))


@connections.command()
@click.argument("name")
@namespace_option
@configuration_options
def test(name: str, namespace: str, **installation: Any) -> None:
    """Connect from this machine and count the tables."""
    from dag_engine.cli.database import open_vault
    from dag_engine.storage.secret_rows import SecretPlace
    from executors.masking import Masker, list_connection_secrets
    from executors.runtime.connections import open_connection

    with open_vault(**installation) as vault:
        vault.find(SecretPlace(namespace, _KIND, name))
        settings = _open(vault, namespace, name)
    try:
        n_tables = len(open_connection(name, settings).tables())
    except Exception as error:  # noqa: BLE001 - a driver raises what it likes
        # It may say the password in it.
        masker = Masker(list_connection_secrets(settings))
        raise CliError(masker.mask(str(error))) from None
    click.echo(f"The connection {name} works: {n_tables} tables and views.")


def _open(vault: Vault, namespace: str, name: str) -> dict[str, Any]:
    return vault.open(namespace, [name], []).connections[name]
