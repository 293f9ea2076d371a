"""`dagengine serve`, `dag-engine` and `operator-engine`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dag_engine.cli.options import configuration_options

_algorithms = click.option(
    "--algorithms",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="Folder with algorithms of your own; may be repeated.",
)


def _listen(command: Any) -> Any:
    command = click.option("--port", type=int, default=None, help="Port; 0 takes a free one.")(
        command
    )
    return click.option("--host", default=None, help="Address to listen on.")(command)


@click.command()
@_listen
@configuration_options
@click.option("--workers", type=int, default=None, help="Tasks at once. [default: twice the cores]")
@_algorithms
def serve(config_file: str | None, **given: Any) -> int:
    """Run everything on this machine until Ctrl-C.

    API, scheduler, operator engine and a pool of warm workers; what dies is started again.
    """
    from dag_engine.cli.config_loading import load_config
    from dag_engine.cli.flags import collect_flags
    from dag_engine.cli.services import make_dag_engine, run_service

    config = load_config(_path(config_file), collect_flags(**given))
    return run_service(make_dag_engine(config, has_engine=True))


@click.command("dag-engine")
@_listen
@configuration_options
def dag_engine(config_file: str | None, **given: Any) -> int:
    """Run API and scheduler until Ctrl-C; operator engines run on other machines."""
    from dag_engine.cli.config_loading import load_config
    from dag_engine.cli.flags import collect_flags
    from dag_engine.cli.services import make_dag_engine, run_service

    config = load_config(_path(config_file), collect_flags(**given))
    return run_service(make_dag_engine(config, has_engine=False))


@click.command("operator-engine")
@click.option(
    "--dag-engine-url",
    metavar="URL",
    help="The dag engine it works for; of several, all, with commas.",
)
@_listen
@click.option("--advertise-url", metavar="URL", help="URL under which the dag engine reaches it.")
@click.option("--token", default=None, help="Token, where the dag engine asks for one.")
@click.option("--home", default=None, help="Folder of everything that it keeps. [default: ./var]")
@click.option("--config", "config_file", type=click.Path(dir_okay=False), default=None)
@click.option("--label", "labels", multiple=True, metavar="K=V", help="May be repeated.")
@click.option("--slots", type=int, default=None, help="Tasks at once. [default: twice the cores]")
@_algorithms
def operator_engine(
    config_file: str | None,
    host: str | None,
    port: int | None,
    labels: tuple[str, ...],
    **given: Any,
) -> int:
    """Run an operator engine for a dag engine until Ctrl-C."""
    from dag_engine.cli.config_loading import load_config
    from dag_engine.cli.flags import collect_flags, collect_labels
    from dag_engine.cli.services import make_operator_engine, run_service

    flags = collect_flags(engine_host=host, engine_port=port, **given) | collect_labels(labels)
    return run_service(make_operator_engine(load_config(_path(config_file), flags)))


def _path(file: str | None) -> Path | None:
    return Path(file) if file else None
