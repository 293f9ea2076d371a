"""`dagengine datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dag_engine.cli.errors import UsageError
from dag_engine.cli.options import client_options, output_option, paging_options
from dag_engine.cli.output import print_answer, print_facts, print_table, show_moment, show_size


@click.group()
def datasets() -> None:
    """Register and show data."""


@datasets.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False), required=False)
@click.option("--in-place", metavar="URI", help="Register what lies below a configured root.")
@click.option("--id", "dataset_id", help="Id by which DAG files name it (data_id).")
@click.option("--name", help="Name for people.")
@client_options
@output_option
def add(
    file: str | None,
    in_place: str | None,
    dataset_id: str | None,
    name: str | None,
    url: str,
    token: str,
    output: str,
) -> None:
    """Upload FILE as a dataset; under an id that exists it becomes a new version.

    csv, tsv, parquet, Excel and JSON lines, also gzipped.
    """
    from dag_engine.cli.client import Client

    if bool(file) == bool(in_place):
        raise UsageError("Name either a FILE to upload or --in-place URI.")
    fields = {key: value for key, value in (("id", dataset_id), ("name", name)) if value}
    client = Client(url, token, timeout_s=3600)
    if file:
        answer = upload_dataset(client, Path(file), fields)
    else:
        from dag_engine.cli.client import api

        answer = client.post(api("datasets"), fields | {"uri": in_place})
    print_answer(answer, output, _print_added)


def upload_dataset(client: Any, file: Path, fields: dict[str, str]) -> dict[str, Any]:
    """Upload a file as a dataset version."""
    from dag_engine.cli.client import MultipartFile, api

    form = MultipartFile(fields, file)
    try:
        reply = client.request(
            "POST", api("datasets"), data=form, headers={"Content-Type": form.content_type}
        )
    finally:
        form.close()
    answer: dict[str, Any] = reply.json()
    return answer


def _print_added(dataset: dict[str, Any]) -> None:
    name = f" ({dataset['name']})" if dataset.get("name") else ""
    click.echo(
        f"Dataset {dataset['id']}{name} is registered as version {dataset.get('version')}, "
        f"{show_size(dataset.get('bytes'))}."
    )


@datasets.command("list")
@paging_options
@client_options
@output_option
def list_datasets(limit: int, is_all: bool, url: str, token: str, output: str) -> None:
    """List registered datasets."""
    from dag_engine.cli.client import Client, api

    items = list(Client(url, token).iterate(api("datasets"), None if is_all else limit))
    print_answer(items, output, _print_datasets)


def _print_datasets(items: list[dict[str, Any]]) -> None:
    print_table(
        ("dataset", "name", "version", "format", "size", "registered"),
        [
            (
                item["id"],
                item.get("name"),
                item.get("version"),
                item.get("format"),
                show_size(item.get("bytes")),
                show_moment(item.get("created_at")),
            )
            for item in items
        ],
        empty="There are no datasets yet. Register one: dagengine datasets add FILE --id ID",
    )


@datasets.command()
@click.argument("dataset_id", metavar="DATASET")
@client_options
@output_option
def show(dataset_id: str, url: str, token: str, output: str) -> None:
    """Show a dataset and its versions."""
    from dag_engine.cli.client import Client, api

    found = Client(url, token).get(api("datasets", dataset_id))
    print_answer(found, output, _print_dataset)


def _print_dataset(dataset: dict[str, Any]) -> None:
    print_facts(
        [
            ("dataset", dataset["id"]),
            ("name", dataset.get("name")),
            ("uri", dataset.get("uri")),
            ("columns", ", ".join(column["name"] for column in dataset.get("columns") or [])),
        ]
    )
    click.echo()
    print_table(
        ("version", "file", "format", "size", "rows", "registered", "sha256"),
        [
            (
                version["version"],
                version.get("filename") or version.get("uri"),
                version.get("format"),
                show_size(version.get("bytes")),
                version.get("rows"),
                show_moment(version.get("created_at")),
                (version.get("sha256") or "")[:12],
            )
            for version in dataset.get("versions") or []
        ],
    )
