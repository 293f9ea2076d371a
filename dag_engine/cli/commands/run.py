"""`dagengine validate` and `dagengine run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from dag_engine.cli.controls import show_controls
from dag_engine.cli.errors import EXIT_FAILED, EXIT_SUCCEEDED, RefusedError, UsageError
from dag_engine.cli.options import client_options, output_option
from dag_engine.cli.output import make_console, print_answer, print_table


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@client_options
@output_option
def validate(file: str, url: str, token: str, output: str) -> int:
    """Check a DAG file and tell every problem with its line; nothing is stored.

    Exit code 0: the file is valid; 1: it is not.
    """
    from dag_engine.cli.client import Client, api

    answer = Client(url, token).post_file(api("dags:validate"), Path(file))
    print_answer(answer, output, lambda found: _print_verdict(file, found))
    return EXIT_SUCCEEDED if answer["valid"] else EXIT_FAILED


def _print_verdict(file: str, answer: dict[str, Any]) -> None:
    from dag_engine.cli.problems import describe_problems

    problems = answer.get("problems") or []
    for line in describe_problems(problems, file):
        click.echo(line)
    if answer["valid"]:
        click.echo(f"{file} is valid.")
    else:
        click.echo(f"{file} has {len(problems)} problem{'s' if len(problems) != 1 else ''}.")


@click.command()
@click.argument("dag", metavar="FILE|DAG")
@click.option("--from", "from_", multiple=True, metavar="OP", help="OP and everything below it.")
@click.option("--to", multiple=True, metavar="OP", help="OP and everything above it.")
@click.option("--only", multiple=True, metavar="OP", help="OP alone.")
@click.option("--children", multiple=True, metavar="OP", help="Everything below OP.")
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="OP.NAME=VALUE",
    help="Another value for a parameter; JSON, or text where it is none.",
)
@click.option("--base-run", help="Run whose results stand in for what is not run again.")
@click.option("--wait", is_flag=True, help="Show how it goes on, and the reports at the end.")
@click.option("--dry-run", is_flag=True, help="Tell what would run, and what is reused or cached.")
@client_options
@output_option
def run(
    dag: str, wait: bool, dry_run: bool, url: str, token: str, output: str, **chosen: Any
) -> int:
    """Start a run of a DAG file, or of a stored DAG by its id or name.

    With --wait the exit code is the run's outcome: 0 succeeded, 1 failed, 3 cancelled.
    """
    from dag_engine.cli.client import Client

    options = collect_run_options(dry_run=dry_run, **chosen)
    client = Client(url, token)
    answer = start_run(client, dag, options)
    if dry_run:
        print_answer(answer, output, _print_plan)
        return EXIT_SUCCEEDED
    if wait:
        return wait_for_run(client, answer, output)
    print_answer(answer, output, lambda started: _print_started(client.url, started))
    return EXIT_SUCCEEDED


def collect_run_options(*, dry_run: bool, params: tuple[str, ...], **chosen: Any) -> dict[str, Any]:
    """Collect the options of a run from flags. Raises `UsageError`."""
    options: dict[str, Any] = {}
    ranges = {
        word: chosen[flag]
        for flag, word in (
            ("from_", "from"),
            ("to", "to"),
            ("only", "only"),
            ("children", "children"),
        )
        if chosen.get(flag)
    }
    if len(ranges) > 1:
        raise UsageError(f"{' and '.join(f'--{word}' for word in ranges)} exclude each other.")
    for word, operators in ranges.items():
        options |= {"range": word, "operators": list(operators)}
    if params:
        options["params"] = _read_params(params)
    if chosen.get("base_run"):
        options["base_run"] = chosen["base_run"]
    if dry_run:
        options["dry_run"] = True
    return options


def _read_params(params: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for param in params:
        path, sign, text = param.partition("=")
        operator, dot, name = path.rpartition(".")
        if not (sign and dot and operator and name):
            raise UsageError(
                f"--param {param!r} is not of the form OP.NAME=VALUE, such as model.C=0.5."
            )
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found.setdefault(operator, {})[name] = value
    return found


def start_run(client: Any, dag: str, options: dict[str, Any]) -> dict[str, Any]:
    """Start a run: of a file where there is one of that name, else of a stored DAG."""
    from dag_engine.cli.client import api

    path = Path(dag)
    if dag == "-" or path.is_file():
        query = dict(options)
        if "operators" in query:
            query["operators"] = ",".join(query["operators"])
        if "params" in query:
            query["params"] = json.dumps(query["params"], ensure_ascii=False)
        if query.get("dry_run"):
            query["dry_run"] = "true"
        answer: dict[str, Any] = client.post_file(api("runs"), path, query)
        return answer
    from dag_engine.cli.commands.dags import find_dag_id

    try:
        answer = client.post(api("dags", find_dag_id(client, dag), "runs"), options)
    except RefusedError as error:
        if error.status == 404 and "." in dag:
            raise UsageError(f"{dag} is no file, and no stored DAG has that id or name.") from error
        raise
    return answer


def wait_for_run(client: Any, run: dict[str, Any], output: str) -> int:
    """Show a run until it ends, then its reports; answers the exit code."""
    from dag_engine.cli.reports import fetch_reports, print_reports
    from dag_engine.cli.watching import (
        describe_end,
        describe_failures,
        find_exit_code,
        hold_interrupt,
        wait_silently,
        watch_run,
    )

    console = make_console()
    with hold_interrupt(run["id"], make_console(is_error=True)):
        if output != "table":
            run, tasks = wait_silently(client, run["id"])
            print_answer({"run": run, "tasks": tasks}, output, print)
            return find_exit_code(run)
        run, tasks = watch_run(client, run["id"], console)
    print_reports(fetch_reports(client, run["id"], tasks), console)
    for line in describe_failures(client, run["id"], tasks):
        console.print(show_controls(line), markup=False)
    console.print(show_controls(describe_end(run, tasks)), markup=False)
    console.print(show_controls(f"Look closer: {client.url}/runs/{run['id']}"), markup=False)
    return find_exit_code(run)


def _print_started(url: str, run: dict[str, Any]) -> None:
    click.echo(f"Run {run['id']} is {run['state']}.")
    click.echo(f"Watch it: dagengine runs watch {run['id']}")
    click.echo(f"Look closer: {url}/runs/{run['id']}")


def _print_plan(plan: dict[str, Any]) -> None:
    print_table(
        ("would run", "title", "algorithm", "executor", "queue", "after", "cached from"),
        [
            (
                task["operator"],
                task.get("title"),
                task["algorithm"],
                task.get("executor"),
                task.get("queue"),
                ", ".join(task.get("upstream") or []),
                (task.get("hit") or {}).get("run_id"),
            )
            for task in plan["tasks"]
        ],
    )
    if reused := plan.get("reused"):
        click.echo()
        print_table(
            ("reused", "from run", "attempt"),
            [(item["operator"], item["run_id"], item["attempt"]) for item in reused],
        )
