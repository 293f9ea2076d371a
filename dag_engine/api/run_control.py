"""Control of runs: the api leaves a command, the scheduler carries it out."""

from __future__ import annotations

from flask import Response

from dag_engine.api.access import caller
from dag_engine.api.answers import json_answer
from dag_engine.api.calls import Answer, Query, Resource
from dag_engine.api.errors import ConflictError
from dag_engine.api.idempotency import HEADER
from dag_engine.api.services import Services, services
from dag_engine.api.views import show_run, show_task
from dag_engine.core.access import Role
from dag_engine.core.states import FINAL_RUN_STATES, FINAL_TASK_STATES, RunState, TaskState
from dag_engine.storage import commands as stored_commands
from dag_engine.storage import runs as stored_runs
from dag_engine.storage import tasks as stored_tasks

control = Resource("control", "Runs")
_TAKEN = {202: Answer("The command was taken; the run as it is now.", "Run")}
# what a repetition finds done already: it is answered as the first call was
_DONE = {"cancel": {RunState.CANCELLED}}
_IMPOSSIBLE = {
    "cancel": FINAL_RUN_STATES,
    "pause": FINAL_RUN_STATES | {RunState.CANCELLING},
    "resume": FINAL_RUN_STATES | {RunState.CANCELLING},
}


@control.call("POST", "/runs/<word:run_id>:cancel", _TAKEN, headers=HEADER, role=Role.SUBMITTER)
def cancel_run(query: Query, run_id: str) -> Response:
    """Cancel a run with all that it has running."""
    return _command(run_id, "cancel")


@control.call("POST", "/runs/<word:run_id>:pause", _TAKEN, headers=HEADER, role=Role.SUBMITTER)
def pause_run(query: Query, run_id: str) -> Response:
    """Pause a run: nothing new starts, what runs may finish."""
    return _command(run_id, "pause")


@control.call("POST", "/runs/<word:run_id>:resume", _TAKEN, headers=HEADER, role=Role.SUBMITTER)
def resume_run(query: Query, run_id: str) -> Response:
    """Resume a paused run."""
    return _command(run_id, "resume")


@control.call(
    "POST",
    "/runs/<word:run_id>/tasks/<word:operator>:cancel",
    {202: Answer("The command was taken; the task as it is now.", "Task")},
    headers=HEADER,
    role=Role.SUBMITTER,
)
def cancel_task(query: Query, run_id: str, operator: str) -> Response:
    """Cancel the task of one operator."""
    here, who = services(), caller()
    task = stored_tasks.get_task(here.database, who.namespace, run_id, operator)
    if task.state in FINAL_TASK_STATES and task.state != TaskState.CANCELLED:
        raise ConflictError(
            "impossible", f"The task is {task.state}; only one that is not over can be cancelled."
        )
    if task.state != TaskState.CANCELLED:
        _leave(here, run_id, "cancel", operator)
    plan = here.plans.get(who.namespace, run_id)
    return json_answer(show_task(task, plan.tasks[task.index], plan), 202)


def _command(run_id: str, kind: str) -> Response:
    here, who = services(), caller()
    run = stored_runs.get_run(here.database, who.namespace, run_id)
    if run.state in _DONE.get(kind, ()):
        return json_answer(show_run(run), 202)
    if run.state in _IMPOSSIBLE[kind]:
        raise ConflictError("impossible", f"The run is {run.state}: it is too late to {kind} it.")
    _leave(here, run_id, kind)
    return json_answer(show_run(stored_runs.get_run(here.database, who.namespace, run_id)), 202)


def _leave(here: Services, run_id: str, kind: str, operator: str | None = None) -> None:
    who = caller()
    stored_commands.add_command(
        here.database, who.namespace, run_id, kind, operator=operator, created_by=who.mark
    )
    here.scheduler.hint([run_id], has_commands=True)
