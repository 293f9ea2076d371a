"""`dagengine dags`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dag_engine.cli.controls import show_controls
from dag_engine.cli.errors import RefusedError
from dag_engine.cli.options import client_options, output_option, paging_options
from dag_engine.cli.output import print_answer, print_table, show_moment


@click.group()
def dags() -> None:
    """List and change stored DAGs."""


def find_dag_id(client: Any, dag: str) -> str:
    """Find a stored DAG by its id, else by its name. Raises `RefusedError`."""
    from dag_engine.cli.client import api

    try:
        found = client.get(api("dags", dag))
    except RefusedError as error:
        if error.status not in {400, 404, 422}:
            raise
        for item in client.iterate(api("dags"), None):
            if item.get("name") == dag:
                return str(item["id"])
        raise
    return str(found.get("id", dag))


@dags.command("list")
@paging_options
@client_options
@output_option
def list_dags(limit: int, is_all: bool, url: str, token: str, output: str) -> None:
    """List stored DAGs."""
    from dag_engine.cli.client import Client, api

    items = list(Client(url, token).iterate(api("dags"), None if is_all else limit))
    print_answer(items, output, _print_dags)


def _print_dags(items: list[dict[str, Any]]) -> None:
    print_table(
        ("dag", "name", "version", "operators", "changed"),
        [
            (
                dag["id"],
                dag.get("name"),
                dag.get("version"),
                dag.get("n_operators"),
                show_moment(dag.get("updated_at") or dag.get("created_at")),
            )
            for dag in items
        ],
        empty="There are no DAGs yet. Store one: dagengine dags put FILE",
    )


@dags.command()
@click.argument("dag")
@click.option("--version", "number", type=click.IntRange(1), help="Another version than the last.")
@client_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(["yaml", "json", "table"]),
    default="yaml",
    show_default=True,
    help="yaml is the file as it was posted.",
)
def get(dag: str, number: int | None, url: str, token: str, output: str) -> None:
    """Print a stored DAG, by its id or name."""
    from dag_engine.cli.client import Client, api

    client = Client(url, token)
    parts = ["dags", find_dag_id(client, dag)]
    if number:
        parts += ["versions", str(number)]
    if output == "table":
        print_answer([client.get(api(*parts))], output, _print_dags)
    else:
        accept = "application/yaml" if output == "yaml" else "application/json"
        data = client.get_bytes(api(*parts), accept)
        if output == "json":
            import json

            print_answer(json.loads(data), "json", print)
        elif sys.stdout.isatty():
            text = show_controls(data.decode("utf-8", "replace"))
            click.echo(text, nl=not text.endswith("\n"))
        else:
            click.echo(data, nl=not data.endswith(b"\n"))


@dags.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.argument("dag", required=False)
@client_options
@output_option
def put(file: str, dag: str | None, url: str, token: str, output: str) -> None:
    """Store a DAG file: as a new version of DAG, or under its own name."""
    from dag_engine.cli.client import Client, api, find_media_type, read_dag_file

    client = Client(url, token)
    path = Path(file)
    if dag is None:
        answer = client.post_file(api("dags"), path)
    else:
        dag_path = api("dags", find_dag_id(client, dag))
        etag = client.request("GET", dag_path).headers.get("ETag")
        headers = {"Content-Type": find_media_type(path)} | ({"If-Match": etag} if etag else {})
        reply = client.request(
            "PUT", dag_path, data=read_dag_file(path), headers=headers, source=file
        )
        answer = reply.json()
    print_answer(answer, output, _print_stored)


def _print_stored(dag: dict[str, Any]) -> None:
    name = f" ({dag['name']})" if dag.get("name") else ""
    click.echo(f"Dag {dag['id']}{name} is stored as version {dag.get('version')}.")


@dags.command()
@click.argument("dag")
@client_options
def delete(dag: str, url: str, token: str) -> None:
    """Delete a stored DAG; its runs stay."""
    from dag_engine.cli.client import Client, api

    client = Client(url, token)
    dag_id = find_dag_id(client, dag)
    reply = client.request("GET", api("dags", dag_id))
    etag = reply.headers.get("ETag")
    client.request("DELETE", api("dags", dag_id), headers={"If-Match": etag} if etag else {})
    click.echo(show_controls(f"Dag {dag_id} is deleted."))
