"""`dagengine secrets`: works on the installation's own database and key."""

from __future__ import annotations

from typing import Any, Literal

import click

from dag_engine.cli.options import configuration_options
from dag_engine.cli.secret_input import check_name, current_user, read_secret
from dag_engine.cli.stored_secrets import add_delete, add_list, namespace_option

_KIND: Literal["secret"] = "secret"


@click.group()
def secrets() -> None:
    """Store secrets, and change the key that seals them.

    They are sealed in the database and given to operators by name. Works on the database itself
    (--home, --database-url), so it is run where the dag engine runs.
    """


@secrets.command()
@click.argument("name")
@click.option("--from-file", help="A file that holds the secret; - is stdin.")
@namespace_option
@configuration_options
def add(name: str, from_file: str | None, namespace: str, **installation: Any) -> None:
    """Store a secret; one that has the name is replaced.

    Without --from-file it is asked for, or read from the standard input.
    """
    from dag_engine.cli.database import open_vault
    from dag_engine.storage.secret_rows import SecretPlace
    from executors.masking import SHORTEST

    check_name(name)
    value = read_secret(from_file, "Secret")
    with open_vault(**installation) as vault:
        place = SecretPlace(namespace, _KIND, name)
        _, is_new = vault.put(place, value, created_by=current_user())
    click.echo(f"The secret {name} is {'stored' if is_new else 'replaced'}.")
    if len(value) < SHORTEST:
        click.echo("warning: it is too short to be taken out of logs and errors.", err=True)


add_list(secrets, _KIND, "List the secrets by name; their values are shown nowhere.")
add_delete(secrets, _KIND)


@secrets.command()
@configuration_options
def rotate(**installation: Any) -> None:
    """Seal everything that is stored with a new key.

    Services go on meanwhile. A key file gets the new key as its first line, and loses the others
    when everything is sealed anew. Keys of the environment are changed by hand: first start the
    services with `new,old`, then run this, then start them with `new` alone.
    """
    from dag_engine.cli.database import load_installation, make_tables, open_installation
    from dag_engine.storage.rotation import rotate_keys

    config = load_installation(**installation)
    with open_installation(**installation) as database:
        make_tables(database)
        done = rotate_keys(config, database)
    click.echo(f"{done.n_resealed} values are sealed with key {done.key_id} now.")
    for place in done.unreadable:
        click.echo(
            f"warning: the {place.kind} {place.name} of {place.namespace} could not be opened and "
            "is left as it was; store it anew.",
            err=True,
        )
    if done.kept:
        click.echo(f"Old keys that are still needed are kept: {', '.join(done.kept)}.")
