"""`dagengine version`."""

from __future__ import annotations

import click


@click.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as find_version

    click.echo(f"dagengine {find_version('dagengine')}")
