"""`dagengine config`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dag_engine.cli.options import configuration_options, output_option
from dag_engine.cli.output import print_answer, print_table


@click.group()
def config() -> None:
    """Show the configuration."""


@config.command("show")
@configuration_options
@output_option
def show(config_file: str | None, home: str | None, database_url: str | None, output: str) -> None:
    """Tell each value and where it came from; secrets are hidden."""
    from dag_engine.cli.config_loading import load_config
    from dag_engine.cli.config_show import list_settings
    from dag_engine.cli.flags import collect_flags

    flags = collect_flags(home=home, database_url=database_url)
    settings = list_settings(load_config(Path(config_file) if config_file else None, flags))
    print_answer(settings, output, _print)


def _print(settings: list[dict[str, Any]]) -> None:
    print_table(
        ("key", "value", "from"),
        [(row["key"], row["value"], row["origin"]) for row in settings],
    )
