"""Decides what follows from what happened to a run: pure functions of a live run, an event and the
time.

Each function changes the live run in memory and adds to a `Decision` the rows to store and the
commands to carry out. Nobody else sees the live run before the rows are committed; where a commit
is refused, the run is loaded again.
"""

from __future__ import annotations

import datetime as dt

from dag_engine.core import retries
from dag_engine.core.changes import AttemptRow, FindingRow, Former, StoredCommand
from dag_engine.core.consequences import (
    apply_failure,
    apply_former,
    apply_success,
    cancel_live_task,
    close_attempt,
    kill_attempt,
    may_offer,
    offer,
    set_patience,
    set_timeout,
    settle,
    spread_end,
)
from dag_engine.core.live import Decision, LiveRun, LiveTask, Timer, attempt_id_of
from dag_engine.core.moves import attempt_row, change_run, change_task
from dag_engine.core.states import (
    CACHED,
    OPEN_TASK_STATES,
    RunEvent,
    RunState,
    TaskEvent,
    TaskState,
)
from executors.base import Outcome, VerdictWord

LONGEST_SENTENCE = 4_000
"""So many letters of a sentence that a task says of itself are kept."""

# --- what happens to a run ------------------------------------------------------------------------


def start_run(run: LiveRun, out: Decision) -> None:
    """Begin a run that the api has accepted: what depends on nothing may start."""
    out.batch.consumed_runs.append(run.run_id)
    change_run(run, RunEvent.STARTED, out)
    for task in run.tasks:
        if task.n_waiting == 0 and not task.plan.is_alternative:
            offer(run, task, out)
    settle(run, out)


def resume_after_takeover(run: LiveRun, out: Decision) -> None:
    """Take up a run that an earlier scheduler left: offer what waits, set the timers again."""
    for task in run.tasks:
        if task.state is TaskState.RETRYING and run.state is not RunState.CANCELLING:
            _wait_for_retry(run, task, out)
        elif task.state in (TaskState.PENDING, TaskState.READY) and may_offer(task):
            offer(run, task, out)
        elif task.state is TaskState.RUNNING:
            set_timeout(run, task, out)
    if run.state is RunState.CANCELLING:
        set_patience(run, out)
        for task in run.tasks:
            if task.state is TaskState.CANCELLED and task.row.attempt and task.row.engine_id:
                kill_attempt(run, task, out)
    settle(run, out)


def pause_run(run: LiveRun, out: Decision) -> str:
    """Hand out nothing more until the run is resumed."""
    if run.state in (RunState.PAUSING, RunState.PAUSED):
        return "repeated"
    if run.state is not RunState.RUNNING:
        return "impossible"
    change_run(run, RunEvent.PAUSE_ASKED, out, "asked", "Somebody paused the run.")
    settle(run, out)
    return "applied"


def resume_run(run: LiveRun, out: Decision) -> str:
    """Go on after a pause."""
    if run.state is RunState.RUNNING:
        return "repeated"
    if run.state not in (RunState.PAUSING, RunState.PAUSED):
        return "impossible"
    change_run(run, RunEvent.RESUME_ASKED, out)
    for task in run.tasks:
        if task.state in (TaskState.PENDING, TaskState.READY) and may_offer(task):
            offer(run, task, out)
        elif task.state is TaskState.RETRYING:
            _wait_for_retry(run, task, out)
    settle(run, out)
    return "applied"


def _wait_for_retry(run: LiveRun, task: LiveTask, out: Decision) -> None:
    latest = out.now + dt.timedelta(seconds=retries.longest_wait_s(task.plan, task.row))
    at = min(task.row.not_before or out.now, latest)
    out.timers.append(Timer(at, "retry", run.run_id, task.plan.index, task.row.attempt))


def cancel_run(run: LiveRun, out: Decision) -> str:
    """Cancel what is not final; the run is `cancelled` once its processes are dead."""
    if run.state is RunState.CANCELLING:
        return "repeated"
    if run.is_final:
        return "impossible"
    change_run(run, RunEvent.CANCEL_ASKED, out, "asked", "Somebody cancelled the run.")
    for task in run.tasks:
        if not task.is_final:
            cancel_live_task(run, task, out, "asked", "The run was cancelled.")
    set_patience(run, out)
    settle(run, out)
    return "applied"


def obey(run: LiveRun, command: StoredCommand, out: Decision) -> str:
    """Carry out a command; tell whether it was `applied`, `repeated` or `impossible`."""
    if command.operator is not None:
        return cancel_task(run, command.operator, out)
    actions = {"cancel": cancel_run, "pause": pause_run, "resume": resume_run}
    return actions[command.kind](run, out)


def cancel_overdue(run: LiveRun, out: Decision) -> None:
    """Stop waiting for the engines' word that a cancelled run's processes are dead."""
    if run.state is RunState.CANCELLING:
        note_deaths(run, run.dying, out)


def note_deaths(run: LiveRun, attempt_ids: set[str], out: Decision) -> None:
    """Wait no longer for the death of attempts: they are dead, or nobody will tell."""
    run.dying = run.dying - attempt_ids
    settle(run, out)


# --- what happens to a task -----------------------------------------------------------------------


def cancel_task(run: LiveRun, operator: str, out: Decision) -> str:
    """Cancel one operator's task; what depends on it cannot run."""
    task = next((task for task in run.tasks if task.plan.operator == operator), None)
    if task is None:
        return "impossible"
    if task.is_final:
        return "repeated" if task.state is TaskState.CANCELLED else "impossible"
    cancel_live_task(run, task, out, "asked", "Somebody cancelled the task.")
    spread_end(run, task, out)
    settle(run, out)
    return "applied"


def serve_former(run: LiveRun, task: LiveTask, former: Former, out: Decision) -> None:
    """End a task that waits for a place with the result that an equal one has made."""
    apply_former(run, task, former, out)
    settle(run, out)


def note_gone(run: LiveRun, task: LiveTask, former: Former, detail: str, out: Decision) -> None:
    """Note that a former result was known but is not there as it was stored."""
    out.batch.findings[run.run_id, task.row.index] = FindingRow(
        run.run_id,
        task.row.index,
        "gone",
        former.run_id,
        former.index,
        former.attempt,
        detail,
    )


def hand_out(run: LiveRun, task: LiveTask, engine_id: str, out: Decision) -> None:
    """Commit a task to an operator engine under a new attempt."""
    row = task.row
    row.attempt += 1
    row.engine_id = engine_id
    row.not_before = row.started_at = row.ended_at = row.progress = None
    run.n_open += 1
    change_task(run, task, TaskEvent.HANDED_OUT, out)
    out.batch.attempts[run.run_id, row.index, row.attempt] = AttemptRow(
        run_id=run.run_id,
        index=row.index,
        attempt=row.attempt,
        state=TaskState.QUEUED,
        engine_id=engine_id,
        queued_at=out.now,
    )


def hold_back(run: LiveRun, task: LiveTask, code: str, reason: str, out: Decision) -> None:
    """Store why a task that could run has to wait."""
    if task.state is TaskState.PENDING:
        change_task(run, task, TaskEvent.MADE_READY, out, code, reason)
    elif task.state is TaskState.RETRYING:
        change_task(run, task, TaskEvent.RETRY_DUE, out, code, reason)
    elif task.state is TaskState.READY and task.row.reason_code != code:
        task.row.reason_code, task.row.reason = code, reason
        out.batch.tasks[run.run_id, task.row.index] = task.row


def attempt_started(run: LiveRun, index: int, outcome: Outcome, out: Decision) -> VerdictWord:
    """Take note that an attempt runs, or how far it is. After the end this changes nothing."""
    task = run.tasks[index]
    if task.state not in OPEN_TASK_STATES:
        return "stale"
    if task.state is TaskState.QUEUED:
        task.row.started_at = outcome.started_at or out.now
        change_task(run, task, TaskEvent.STARTED, out)
        out.batch.attempts[run.run_id, index, task.row.attempt] = attempt_row(run, task, outcome)
        set_timeout(run, task, out)
    elif outcome.kind == "started":
        return "duplicate"
    if outcome.progress is not None:
        progress = outcome.progress
        task.row.progress = {
            "done": progress.done,
            "total": progress.total,
            "message": progress.message[:LONGEST_SENTENCE],
        }
        out.batch.tasks[run.run_id, index] = task.row
    return "applied"


def attempt_ended(run: LiveRun, index: int, outcome: Outcome, out: Decision) -> VerdictWord:
    """Apply the end of the task's present attempt."""
    task = run.tasks[index]
    attempt_id = attempt_id_of(run.run_id, index, task.row.attempt)
    if task.state not in OPEN_TASK_STATES:
        note_deaths(run, {attempt_id}, out)
        has_counted = task.state is TaskState.SUCCEEDED and task.row.reason_code != CACHED
        return "duplicate" if has_counted else "stale"
    if task.state is TaskState.QUEUED:
        task.row.started_at = outcome.started_at
    close_attempt(run, task, out)
    end = retries.normalise(outcome, task.plan.n_outputs)
    row = attempt_row(run, task, end)
    row.ended_at = end.ended_at or out.now
    out.batch.attempts[run.run_id, index, task.row.attempt] = row
    task.row.ended_at = row.ended_at
    if end.metrics:
        task.row.metrics = dict(end.metrics)
    if end.state == "succeeded":
        apply_success(run, task, end, out)
    elif end.state == "cancelled":
        row.state = TaskState.CANCELLED
        change_task(run, task, TaskEvent.CANCELLED, out, "stopped", "Stopped at the engine.")
        spread_end(run, task, out)
    else:
        apply_failure(run, task, end, out)
    settle(run, out)
    return "applied"


def fail_attempt(
    run: LiveRun,
    index: int,
    reason: str,
    detail: str,
    out: Decision,
    *,
    is_handed_back: bool = False,
) -> None:
    """End the task's present attempt as failed, though nobody reported it."""
    task = run.tasks[index]
    outcome = Outcome(
        attempt_id=attempt_id_of(run.run_id, index, task.row.attempt),
        kind="ended",
        state="failed",
        reason=reason,
        message=detail,
        started_at=task.row.started_at,
        is_handed_back=is_handed_back,
    )
    attempt_ended(run, index, outcome, out)


def refuse_attempt(run: LiveRun, index: int, detail: str, out: Decision) -> None:
    """Fail the task's present attempt, which its operator engine will never take, or cannot be
    given; it is killed all the same, for an earlier scheduler may have brought it there.
    """
    row = run.tasks[index].row
    out.kills.append((row.engine_id or "", attempt_id_of(run.run_id, index, row.attempt)))
    fail_attempt(run, index, "error", detail, out)


def lose_attempt(
    run: LiveRun, index: int, detail: str, out: Decision, *, is_handed_back: bool = False
) -> None:
    """Give an attempt up whose operator engine is gone, or was stopped in good order."""
    fail_attempt(run, index, "lost", detail, out, is_handed_back=is_handed_back)


def retry_due(run: LiveRun, index: int, attempt: int, out: Decision) -> None:
    """Offer a task again whose waiting time after a failure is over."""
    task = run.tasks[index]
    if task.state is TaskState.RETRYING and task.row.attempt == attempt:
        offer(run, task, out)


def timeout_overdue(run: LiveRun, index: int, attempt: int, out: Decision) -> None:
    """End an attempt that its executor should have ended long ago."""
    task = run.tasks[index]
    if task.state is not TaskState.RUNNING or task.row.attempt != attempt:
        return
    kill_attempt(run, task, out)
    text = f"It ran longer than its {task.plan.timeout_s:g} s and was not ended."
    fail_attempt(run, index, "timeout", text, out)


# --- what is due ----------------------------------------------------------------------------------


def waits_for(run: LiveRun, timer: Timer) -> bool:
    """Tell whether a timer still means something."""
    if run.is_final or timer.kind == "cancel":
        return not run.is_final
    task = run.tasks[timer.index]
    return task.row.attempt == timer.attempt and not task.is_final


def fire(run: LiveRun, timer: Timer, out: Decision) -> None:
    """Do what a timer was set for; one that was overtaken does nothing."""
    if timer.kind == "retry":
        retry_due(run, timer.index, timer.attempt, out)
    elif timer.kind == "timeout":
        timeout_overdue(run, timer.index, timer.attempt, out)
    else:
        cancel_overdue(run, out)
