"""`dagengine demo`: the German credit example from start to end."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dag_engine.cli.errors import EXIT_FAILED, CliError, RefusedError
from dag_engine.cli.options import configuration_options

if TYPE_CHECKING:
    from dag_engine.cli.client import Client
    from dag_engine.cli.services import Service

DATASET_ID = "german_credit"
_FOLDER = Path(__file__).resolve().parents[3] / "config"
_DATA = _FOLDER / "datasets" / "german_credit.csv"
_DAG = _FOLDER / "examples" / "german_credit.yaml"


@click.command()
@configuration_options
@click.option("--port", type=int, default=None, help="Port of the API. [default: 8080, if free]")
def demo(
    config_file: str | None, port: int | None, home: str | None, database_url: str | None
) -> int:
    """Run the German credit example: two models on real data, their reports side by side.

    Starts everything on this machine, registers the data, posts the DAG, shows how it goes on,
    and stops everything again. What it made stays in the home folder.
    """
    from dag_engine.cli.config_loading import load_config
    from dag_engine.cli.flags import collect_flags
    from dag_engine.cli.services import make_dag_engine, run_service

    flags = collect_flags(home=home, database_url=database_url, port=port)
    file = Path(config_file) if config_file else None
    config = load_config(file, flags)
    if port is None and not _is_free(config.server.host, config.server.port):
        config = load_config(file, flags | collect_flags(port=0))
    click.echo(f"Starting everything on this machine, in {config.home}")
    service = make_dag_engine(config, has_engine=True)
    run = _Demonstration(service)
    run_service(service, on_ready=run.start, stop=run.is_over)
    return run.finish(config.server.port)


def _is_free(host: str, port: int) -> bool:
    from dag_engine.cli.errors import ServiceError
    from dag_engine.cli.services import bind_api

    try:
        bind_api(host, port).close()
    except ServiceError:
        return False
    return True


def _is_registered(client: Client) -> bool:
    """Tell whether a former demo has registered the very same file."""
    from dag_engine.cli.client import api

    try:
        known = client.get(api("datasets", DATASET_ID))
    except RefusedError:
        return False
    return bool(known.get("sha256") == hashlib.sha256(_DATA.read_bytes()).hexdigest())


class _Demonstration:
    """Plays the user in a thread, beside the launcher in the main thread."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._thread = threading.Thread(target=self._run, name="demo", daemon=True)
        self._exit_code: int | None = None
        self._error: CliError | None = None
        self.is_over = threading.Event()

    def start(self) -> None:
        """Begin, once everything is ready."""
        self._thread.start()

    def finish(self, port: int) -> int:
        """Say how to look closer; answers the exit code."""
        if self._error is not None:
            raise self._error
        if self._exit_code is None:
            return EXIT_FAILED  # stopped by Ctrl-C before the run had ended
        start = f"dagengine serve --home {self._service.home}"
        is_usual = self._service.home == Path.cwd() / "var" and port
        click.echo(f"To look closer, start it again: {'make run' if is_usual else start}")
        return self._exit_code

    def _run(self) -> None:
        try:
            self._exit_code = self._play()
        except CliError as error:
            self._error = error
        finally:
            self.is_over.set()

    def _play(self) -> int:
        from dag_engine.cli.client import Client
        from dag_engine.cli.commands.datasets import upload_dataset
        from dag_engine.cli.commands.run import start_run, wait_for_run

        client = Client(self._service.url)
        try:
            click.echo("Registering the German credit data, posting the DAG")
            if not _is_registered(client):
                upload_dataset(client, _DATA, {"id": DATASET_ID, "name": "German credit"})
            run = start_run(client, str(_DAG), {})
            return wait_for_run(client, run, "table")
        finally:
            client.close()
