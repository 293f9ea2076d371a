"""Looking at runs and their tasks."""

from __future__ import annotations

import time

from flask import Response, g

from dag_engine.api import calls
from dag_engine.api.access import caller
from dag_engine.api.answers import json_answer, page_answer
from dag_engine.api.calls import PAGE, Answer, Query, Resource
from dag_engine.api.feed import Watch
from dag_engine.api.services import Services, services
from dag_engine.api.views import show_attempt, show_run, show_task
from dag_engine.core.access import Role
from dag_engine.core.states import FINAL_RUN_STATES, RunState, TaskState
from dag_engine.storage import runs as stored_runs
from dag_engine.storage import tasks as stored_tasks
from dag_engine.storage.rows import RunRecord, TaskRecord

runs = Resource("runs", "Runs")

LONGEST_WAIT_S = 60.0
_LOOK_AGAIN_S = 1.0
_LOOK_ANYWAY_S = 10.0
_RUN_STATES = tuple(state.value for state in RunState)
_TASK_STATES = tuple(state.value for state in TaskState)


@runs.call(
    "GET",
    "/runs",
    {200: Answer("The runs.", "[Run]")},
    query=(
        *PAGE,
        calls.choices("state", "Only runs in these states.", _RUN_STATES),
        calls.text("dag_id", "Only runs of this definition."),
    ),
    role=Role.VIEWER,
)
def list_runs(query: Query) -> Response:
    """List runs, the newest first."""
    page = stored_runs.list_runs(
        services().database,
        caller().namespace,
        states=query["state"],
        dag_id=query["dag_id"],
        limit=query["limit"],
        cursor=query["cursor"],
    )
    return page_answer(page.items, page.next_cursor, show_run)


@runs.call(
    "GET",
    "/runs/<word:run_id>",
    {200: Answer("The run.", "Run")},
    query=(
        calls.number(
            "wait_s",
            "Answer at the end of the run, at the latest after so many seconds.",
            default=0,
            most=LONGEST_WAIT_S,
        ),
    ),
    role=Role.VIEWER,
)
def get_run(query: Query, run_id: str) -> Response:
    """Get a run; with `wait_s` as soon as it is over, or when the wait is."""
    here, namespace, wait_s = services(), caller().namespace, query["wait_s"]
    if wait_s:
        run = wait_for_end(here, namespace, run_id, wait_s)
    else:
        run = stored_runs.get_run(here.database, namespace, run_id)
    return json_answer(show_run(run))


def wait_for_end(here: Services, namespace: str, run_id: str, wait_s: float) -> RunRecord:
    """Wait until a run is over or the time is; a run that is not over takes one of the places for
    answers that last.
    """
    deadline = time.monotonic() + wait_s
    with here.feed.watch(run_id, is_for_end=True) as watch:
        run = stored_runs.get_run(here.database, namespace, run_id)
        if run.state in FINAL_RUN_STATES:
            return run
        with here.slots.held():
            g.is_waiting = True
            while run.state not in FINAL_RUN_STATES and _wait_for_news(here, watch, deadline):
                run = stored_runs.get_run(here.database, namespace, run_id)
            return run


def _wait_for_news(here: Services, watch: Watch, deadline: float) -> bool:
    """Wait until the run is to be looked at again: woken by the feed, else every second; false
    where the time is over.
    """
    looked_at = time.monotonic()
    while not here.is_stopping:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        if watch.wait(min(left_s, _LOOK_AGAIN_S)) or not here.feed.is_live:
            return True
        if time.monotonic() - looked_at > _LOOK_ANYWAY_S:
            return True
    return False


@runs.call(
    "GET",
    "/runs/<word:run_id>/tasks",
    {200: Answer("The tasks.", "[Task]")},
    query=(*PAGE, calls.choices("state", "Only tasks in these states.", _TASK_STATES)),
    role=Role.VIEWER,
)
def list_tasks(query: Query, run_id: str) -> Response:
    """List the tasks of a run in breadth-first order."""
    here = services()
    page = stored_tasks.list_tasks(
        here.database,
        caller().namespace,
        run_id,
        states=query["state"],
        limit=query["limit"],
        cursor=query["cursor"],
    )
    plan = here.plans.get(caller().namespace, run_id)

    def show(task: TaskRecord) -> dict[str, object]:
        return show_task(task, plan.tasks[task.index], plan)

    return page_answer(page.items, page.next_cursor, show)


@runs.call(
    "GET",
    "/runs/<word:run_id>/tasks/<word:operator>",
    {200: Answer("The task.", "Task")},
    role=Role.VIEWER,
)
def get_task(query: Query, run_id: str, operator: str) -> Response:
    """Get the task of one operator with its parameters and attempts."""
    here = services()
    task = stored_tasks.get_task(here.database, caller().namespace, run_id, operator)
    attempts = stored_tasks.list_attempts(here.database, caller().namespace, run_id, task.index)
    plan = here.plans.get(caller().namespace, run_id)
    planned = plan.tasks[task.index]
    shown = show_task(task, planned, plan)
    shown["params"] = planned.params
    shown["hint"] = attempts[-1].hint if attempts else ""
    shown["attempts"] = [show_attempt(attempt) for attempt in attempts]
    return json_answer(shown)
