"""`dagengine algorithms`."""

from __future__ import annotations

from typing import Any

import click

from dag_engine.cli.errors import EXIT_FAILED, EXIT_SUCCEEDED
from dag_engine.cli.options import client_options, output_option
from dag_engine.cli.output import print_answer, print_facts, print_table


@click.group()
def algorithms() -> None:
    """Show what operators can run; check your own."""


@algorithms.command("list")
@client_options
@output_option
def list_algorithms(url: str, token: str, output: str) -> None:
    """List the algorithms that operator engines offer."""
    from dag_engine.cli.client import Client, api

    items = Client(url, token).get(api("algorithms"))["items"]
    print_answer(items, output, _print_algorithms)


def _print_algorithms(items: list[dict[str, Any]]) -> None:
    print_table(
        ("algorithm", "title", "标题", "family", "version"),
        [
            (
                item["name"],
                item.get("title"),
                item.get("title_zh"),
                item.get("family"),
                item.get("version"),
            )
            for item in items
        ],
        empty="No operator engine has registered yet.",
    )


@algorithms.command()
@click.argument("name")
@client_options
@output_option
def show(name: str, url: str, token: str, output: str) -> None:
    """Show ports, parameters and documentation of an algorithm."""
    from dag_engine.cli.client import Client, api

    print_answer(Client(url, token).get(api("algorithms", name)), output, _print_algorithm)


def _print_algorithm(item: dict[str, Any]) -> None:
    print_facts(
        [
            ("algorithm", item["name"]),
            ("title", " · ".join(filter(None, (item.get("title"), item.get("title_zh"))))),
            ("family", item.get("family")),
            ("version", item.get("version")),
            ("inputs", _describe_ports(item.get("inputs") or [])),
            ("outputs", _describe_ports(item.get("outputs") or [])),
            ("deprecated", ", ".join(item.get("deprecated_params") or [])),
        ]
    )
    schema = item.get("params_schema") or {}
    required = set(schema.get("required") or [])
    if properties := schema.get("properties"):
        click.echo()
        print_table(
            ("parameter", "title", "标题", "type", "default"),
            [
                (
                    name,
                    described.get("title"),
                    described.get("title_zh"),
                    describe_type(described),
                    "required" if name in required else repr(described.get("default")),
                )
                for name, described in properties.items()
            ],
        )
    if item.get("doc"):
        click.echo()
        click.echo(item["doc"].rstrip())


def _describe_ports(ports: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{number}: {port['name']} ({port['type']}"
        f"{', optional' if port.get('is_optional') else ''}"
        f"{', many' if port.get('is_many') else ''})"
        for number, port in enumerate(ports)
    )


def describe_type(schema: dict[str, Any]) -> str:
    """Describe the type of a parameter in a few words."""
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " | ".join(dict.fromkeys(describe_type(part) for part in schema[word]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {describe_type(schema.get('items') or {})}"
    return str(kind)


@algorithms.command()
@click.argument("target", metavar="FILE_OR_MODULE")
def check(target: str) -> int:
    """Run the contract suite on an algorithm of one's own.

    Exit code 0: every check passed; 1: the output names what did not.
    """
    from executors.runtime.check import check_algorithms

    problems = check_algorithms(target)
    for problem in problems:
        click.echo(problem)
    if problems:
        click.echo(f"{target}: {len(problems)} problem{'s' if len(problems) > 1 else ''}.")
        return EXIT_FAILED
    click.echo(f"{target} keeps the contract.")
    return EXIT_SUCCEEDED
