"""`dagengine runs` and `dagengine logs`."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from dag_engine.cli.controls import show_controls
from dag_engine.cli.errors import EXIT_SUCCEEDED, RefusedError, UsageError
from dag_engine.cli.options import client_options, output_option, paging_options
from dag_engine.cli.output import (
    print_answer,
    print_facts,
    print_table,
    show_duration,
    show_moment,
    show_size,
)

_LOG_PIECE_BYTES = 1 << 20


@click.group()
def runs() -> None:
    """List, watch and control runs."""


@runs.command("list")
@click.option("--dag", help="Runs of this DAG only.")
@click.option("--state", help="Runs in this state only.")
@paging_options
@client_options
@output_option
def list_runs(
    dag: str | None, state: str | None, limit: int, is_all: bool, url: str, token: str, output: str
) -> None:
    """List runs, the newest first."""
    from dag_engine.cli.client import Client, api
    from dag_engine.cli.commands.dags import find_dag_id

    client = Client(url, token)
    asked = {"dag_id": find_dag_id(client, dag) if dag else None, "state": state}
    items = list(client.iterate(api("runs"), None if is_all else limit, asked))
    print_answer(items, output, _print_runs)


def _print_runs(items: list[dict[str, Any]]) -> None:
    print_table(
        ("run", "dag", "state", "tasks", "created", "took"),
        [
            (
                run["id"],
                run.get("dag_name") or run.get("dag_id"),
                run["state"],
                _show_counts(run),
                show_moment(run.get("created_at")),
                show_duration(run.get("started_at"), run.get("ended_at")),
            )
            for run in items
        ],
        empty="There are no runs yet. Start one: dagengine run FILE --wait",
    )


def _show_counts(run: dict[str, Any]) -> str:
    counts = run.get("tasks") or {}
    return ", ".join(f"{number} {state}" for state, number in counts.items() if number)


@runs.command()
@click.argument("run_id", metavar="RUN")
@client_options
@output_option
def get(run_id: str, url: str, token: str, output: str) -> None:
    """Show a run and its tasks."""
    from dag_engine.cli.client import Client, api

    client = Client(url, token)
    run = client.get(api("runs", run_id))
    tasks = list(client.iterate(api("runs", run_id, "tasks"), None))
    print_answer({"run": run, "tasks": tasks}, output, _print_run)


def _print_run(found: dict[str, Any]) -> None:
    from dag_engine.cli.watching import describe_reason

    run = found["run"]
    print_facts(
        [
            ("run", run["id"]),
            ("dag", run.get("dag_name")),
            ("dag id", f"{run.get('dag_id')} version {run.get('dag_version')}"),
            ("state", run["state"]),
            ("reason", describe_reason(run)),
            ("created", show_moment(run.get("created_at"))),
            ("took", show_duration(run.get("started_at"), run.get("ended_at"))),
        ]
    )
    click.echo()
    print_table(
        ("operator", "title", "state", "attempt", "took", "outputs", "reason"),
        [
            (
                task["operator"],
                task.get("title"),
                task["state"],
                task.get("attempt"),
                show_duration(task.get("started_at"), task.get("ended_at")),
                _show_outputs(task),
                describe_reason(task),
            )
            for task in found["tasks"]
        ],
    )


def _show_outputs(task: dict[str, Any]) -> str:
    parts = []
    for output in task.get("outputs") or []:
        rows = output.get("rows")
        size = f"{rows:,} rows" if rows is not None else show_size(output.get("bytes"))
        parts.append(f"{output.get('type')} {size}")
    return "; ".join(parts)


@runs.command()
@click.argument("run_id", metavar="RUN")
@client_options
@output_option
def watch(run_id: str, url: str, token: str, output: str) -> int:
    """Show how a run goes on, and its reports at the end.

    The exit code is the run's outcome: 0 succeeded, 1 failed, 3 cancelled.
    """
    from dag_engine.cli.client import Client, api
    from dag_engine.cli.commands.run import wait_for_run

    client = Client(url, token)
    return wait_for_run(client, client.get(api("runs", run_id)), output)


def _control(run_id: str, verb: str, url: str, token: str, output: str, operator: str = "") -> None:
    from dag_engine.cli.client import Client, api

    parts = ["runs", run_id, "tasks", operator] if operator else ["runs", run_id]
    answer = Client(url, token).post(f"{api(*parts)}:{verb}")
    print_answer(answer, output, lambda run: _print_control(verb, run))


def _print_control(verb: str, run: dict[str, Any]) -> None:
    if "id" in run:
        click.echo(f"Run {run['id']} is {run.get('state')}.")
    else:
        click.echo(f"The {verb} is accepted.")


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.argument("operator", metavar="[OP]", required=False)
@client_options
@output_option
def cancel(run_id: str, operator: str | None, url: str, token: str, output: str) -> None:
    """Cancel a run, or one of its tasks; what runs is killed."""
    _control(run_id, "cancel", url, token, output, operator or "")


@runs.command()
@click.argument("run_id", metavar="RUN")
@client_options
@output_option
def pause(run_id: str, url: str, token: str, output: str) -> None:
    """Start nothing new of a run; what runs may finish."""
    _control(run_id, "pause", url, token, output)


@runs.command()
@click.argument("run_id", metavar="RUN")
@client_options
@output_option
def resume(run_id: str, url: str, token: str, output: str) -> None:
    """Let a paused run go on."""
    _control(run_id, "resume", url, token, output)


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.option("--wait", is_flag=True, help="Show how it goes on, and the reports at the end.")
@client_options
@output_option
def retry(run_id: str, wait: bool, url: str, token: str, output: str) -> int:
    """Start a new run of what failed; the former results of the rest are used."""
    from dag_engine.cli.client import Client, api
    from dag_engine.cli.commands.run import wait_for_run

    client = Client(url, token)
    answer = client.post(f"{api('runs', run_id)}:retry")
    if wait:
        return wait_for_run(client, answer, output)
    print_answer(answer, output, lambda run: _print_control("retry", run))
    return EXIT_SUCCEEDED


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.argument("operator", metavar="OP")
@client_options
@output_option
def why(run_id: str, operator: str, url: str, token: str, output: str) -> None:
    """Tell why an operator waits, how it came to its state, or why the cache missed."""
    from dag_engine.cli.client import Client, api

    client = Client(url, token)
    task = client.get(api("runs", run_id, "tasks", operator))
    try:
        task["cache_story"] = client.get(api("runs", run_id, "tasks", operator, "cache"))
    except RefusedError as error:
        if error.status != 404:  # a service of an older version knows no such call
            raise
    print_answer(task, output, _print_why)


def _print_why(task: dict[str, Any]) -> None:
    from dag_engine.cli.watching import describe_reason, name_task

    click.echo(f"{name_task(task)}: {task['state']}")
    reason = _explain(task) or describe_reason(task) or "no reason is recorded"
    click.echo(f"Why: {reason}")
    attempts = task.get("attempts") or []
    if attempts and attempts[-1].get("hint"):
        click.echo(f"Hint: {attempts[-1]['hint']}")
    _print_cache(task.get("cache_story") or {})
    if task.get("not_before"):
        click.echo(f"Not before: {show_moment(task['not_before'])}")
    if attempts:
        click.echo()
        print_table(
            ("attempt", "state", "reason", "operator engine", "started", "took"),
            [
                (
                    attempt.get("attempt"),
                    attempt.get("state"),
                    describe_reason(attempt),
                    attempt.get("engine"),
                    show_moment(attempt.get("started_at")),
                    show_duration(attempt.get("started_at"), attempt.get("ended_at")),
                )
                for attempt in attempts
            ],
        )
        if attempts[-1].get("traceback"):
            click.echo(f"\n{attempts[-1]['traceback'].rstrip()}")


def _print_cache(story: dict[str, Any]) -> None:
    verdict = story.get("verdict")
    if verdict in {None, "open"}:
        return
    click.echo(f"Cache: {verdict}. {story.get('message', '')}")
    if source := story.get("source"):
        name = source.get("operator") or "an operator"
        click.echo(f"  made by {name} of run {source['run_id']}, attempt {source['attempt']}")


def _explain(task: dict[str, Any]) -> str:
    """Explain in words what has no sentence of its own."""
    if task.get("message"):
        return ""
    if task.get("reason") == "cached":
        return "the result of an equal task was there already"
    return {
        "pending": "it waits for the operators above it",
        "ready": "everything above it is there; it is about to be handed out",
        "queued": "an operator engine has it and starts it when a slot is free",
        "running": "it runs just now",
        "succeeded": "it ran",
        "skipped": "it was not needed",
    }.get(task["state"], "")


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("operator", metavar="OP")
@click.option("-f", "--follow", is_flag=True, help="Go on until the attempt ends.")
@click.option("--attempt", type=click.IntRange(1), help="Which attempt. [default: the last]")
@client_options
def logs(
    run_id: str, operator: str, follow: bool, attempt: int | None, url: str, token: str
) -> int:
    """Print the log of an operator: all that its attempt wrote to stdout and stderr."""
    from dag_engine.cli.client import Client, api

    client = Client(url, token)
    number = attempt or _find_attempt(client, run_id, operator, follow)
    path = api("runs", run_id, "tasks", operator, "attempts", str(number), "log")
    offset = 0
    while True:
        piece = client.get(path, {"offset": offset, "limit": _LOG_PIECE_BYTES})
        sys.stdout.write(show_controls(piece.get("text") or ""))
        sys.stdout.flush()
        moved = piece["next_offset"] > offset
        offset = piece["next_offset"]
        is_at_end = offset >= (piece.get("size_bytes") or 0) and not moved
        if piece.get("is_complete") and is_at_end:
            return EXIT_SUCCEEDED
        if not moved:
            if not follow:
                return EXIT_SUCCEEDED
            time.sleep(0.3)


def _find_attempt(client: Any, run_id: str, operator: str, follow: bool) -> int:
    """Find the last attempt; with --follow a task that has not begun is waited for."""
    from dag_engine.cli.client import api

    while True:
        task = client.get(api("runs", run_id, "tasks", operator))
        if number := task.get("attempt"):
            return int(number)
        if task.get("reason") == "cached":
            raise UsageError(
                f"{operator} has not run: {task.get('message')}",
                f"The log is there; dagengine runs why {run_id} {operator} tells the attempt.",
            )
        if not follow or task["state"] in {"cancelled", "skipped", "upstream_failed"}:
            raise UsageError(
                f"{operator} has not run: it is {task['state']}.",
                f"dagengine runs why {run_id} {operator} tells more.",
            )
        time.sleep(0.3)
