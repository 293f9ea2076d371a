"""How one thing that happened to a run leads to another, down to where nothing follows any more."""

from __future__ import annotations

import datetime as dt

from dag_engine.core import retries
from dag_engine.core.changes import ArtifactRow, EntryRow, FindingRow, Former
from dag_engine.core.live import (
    Decision,
    LiveRun,
    LiveTask,
    Timer,
    attempt_id_of,
    is_hopeless,
    provider,
)
from dag_engine.core.moves import attempt_row, change_run, change_task
from dag_engine.core.states import (
    CACHED,
    NOT_NEEDED,
    OPEN_TASK_STATES,
    RunEvent,
    RunState,
    TaskEvent,
    TaskState,
)
from dag_engine.core.work_keys import find_keys
from executors.base import ArtifactRef, Outcome

TIMEOUT_BACKSTOP_S = 30.0
"""Executors keep timeouts; the scheduler steps in this much later."""
CANCEL_PATIENCE_S = 15.0
"""A cancelled run waits this long at most for its processes to be reported dead."""


def may_offer(task: LiveTask) -> bool:
    """Tell whether nothing but a free place keeps a task from running."""
    return task.n_waiting == 0 and (not task.plan.is_alternative or task.is_called)


def offer(run: LiveRun, task: LiveTask, out: Decision) -> None:
    """Put a task forward for the next placement."""
    out.ready.append((run, task))


def apply_success(run: LiveRun, task: LiveTask, outcome: Outcome, out: Decision) -> None:
    """Keep a task's outputs and release what waited for them."""
    task.has_read_seed = outcome.has_read_seed
    row = task.row
    _keep_outputs(run, task, outcome.outputs, row.attempt, out)
    if (keys := find_keys(run, task)) is not None:
        key = keys.choose(has_read_seed=outcome.has_read_seed)
        out.batch.entries[run.namespace, key] = EntryRow(
            run.namespace, key, run.run_id, row.index, row.attempt, out.now
        )
    change_task(run, task, TaskEvent.SUCCEEDED, out, "ran")
    spread_end(run, task, out)


def apply_former(run: LiveRun, task: LiveTask, former: Former, out: Decision) -> None:
    """Let a former result stand in for a task that waits; no attempt of this one made it."""
    row = task.row
    row.engine_id = row.started_at = row.not_before = row.progress = None
    row.ended_at = out.now
    row.metrics = dict(former.metrics) or None
    _keep_outputs(run, task, former.outputs, 0, out)
    out.batch.findings[run.run_id, row.index] = FindingRow(
        run.run_id, row.index, "hit", former.run_id, former.index, former.attempt
    )
    text = f"{former.operator} of run {former.run_id} has made the same result before."
    change_task(run, task, TaskEvent.CACHED, out, CACHED, text)
    spread_end(run, task, out)


def _keep_outputs(
    run: LiveRun, task: LiveTask, outputs: list[ArtifactRef], attempt: int, out: Decision
) -> None:
    task.outputs = list(outputs)
    for port, ref in enumerate(task.outputs):
        out.batch.artifacts.append(ArtifactRow(run.run_id, task.row.index, port, attempt, ref))


def apply_failure(run: LiveRun, task: LiveTask, outcome: Outcome, out: Decision) -> None:
    """Plan another attempt, or let the failure take its course."""
    ruling = retries.rule(task.plan, task.row, outcome, out.jitter)
    row = task.row
    row.n_failures, row.n_losses = ruling.n_failures, ruling.n_losses
    if ruling.delay_s is not None and not run.is_stopping:
        row.not_before = out.now + dt.timedelta(seconds=ruling.delay_s)
        row.ended_at = None
        change_task(run, task, TaskEvent.RETRY_PLANNED, out, ruling.reason_code, ruling.reason)
        timer = Timer(row.not_before, "retry", run.run_id, row.index, row.attempt)
        out.timers.append(timer)
        return
    change_task(run, task, TaskEvent.FAILED, out, ruling.reason_code, ruling.reason)
    spread_end(run, task, out)
    if task.plan.on_failure == "stop":
        _stop(run, task, out)


def spread_end(run: LiveRun, ended: LiveTask, out: Decision) -> None:
    """Let everything follow from the end of a task, whichever end that was.

    Its alternative is called or dismissed. What waits for its results, or for those of a failed
    operator that it stands in for, is released where they are there, and given up where nobody can
    bring them any more.
    """
    stack = [ended]
    while stack:
        task = stack.pop()
        if task.plan.alternative is not None:
            stack += _tell_alternative(run, task, run.tasks[task.plan.alternative], out)
        sources = [task]
        while sources:
            source = sources.pop()
            if not source.is_provided:
                stack += _tell_downstream(run, source, out)
            sources += [run.tasks[i] for i in source.rescues if _has_failed(run.tasks[i])]


def _has_failed(task: LiveTask) -> bool:
    return task.state is TaskState.FAILED


def _tell_alternative(
    run: LiveRun, task: LiveTask, alternative: LiveTask, out: Decision
) -> list[LiveTask]:
    """Call an alternative, or skip one that none of its operators needs any more; return what
    ended.
    """
    if alternative.is_final:
        return []
    if _has_failed(task):
        alternative.is_called = True
        if alternative.state is TaskState.PENDING and may_offer(alternative):
            offer(run, alternative, out)
        return []
    rescued = [run.tasks[i] for i in alternative.rescues]
    if any(not other.is_final or _has_failed(other) for other in rescued):
        return []
    text = "The operator that it stands in for did not fail."
    change_task(run, alternative, TaskEvent.SKIPPED, out, NOT_NEEDED, text)
    return [alternative]


def _tell_downstream(run: LiveRun, source: LiveTask, out: Decision) -> list[LiveTask]:
    """Release or give up what waits for an operator's results, if it is known which; return what
    ended.
    """
    waiting = [run.tasks[i] for i in source.downstream]
    if provider(run, source.plan.index) is not None:
        source.is_provided = True
        for target in waiting:
            target.n_waiting -= 1
            if target.state is TaskState.PENDING and may_offer(target):
                offer(run, target, out)
        return []
    if not is_hopeless(run, source):
        return []
    event, code = TaskEvent.UPSTREAM_FAILED, "upstream"
    text = f"{source.plan.operator} is {source.state}, so its results are missing."
    if source.state is TaskState.SKIPPED:
        event, code, text = (
            TaskEvent.SKIPPED,
            NOT_NEEDED,
            f"{source.plan.operator} was not needed.",
        )
    given_up = [target for target in waiting if target.state is TaskState.PENDING]
    for target in given_up:
        change_task(run, target, event, out, code, text)
    return given_up


def _stop(run: LiveRun, failed: LiveTask, out: Decision) -> None:
    """Let nothing new start after a failure; what runs may finish."""
    if run.is_stopping:
        return
    run.is_stopping = True
    text = f"The run stopped because {failed.plan.operator} failed."
    for task in run.tasks:
        if task.state in (TaskState.PENDING, TaskState.READY):
            change_task(run, task, TaskEvent.SKIPPED, out, "stopped", text)
        elif task.state is TaskState.RETRYING:
            code, reason = task.row.reason_code, task.row.reason
            change_task(run, task, TaskEvent.FAILED, out, code, f"{reason} {text}".strip())
        elif task.state is TaskState.QUEUED:
            cancel_live_task(run, task, out, "stopped", text)


def cancel_live_task(run: LiveRun, task: LiveTask, out: Decision, code: str, reason: str) -> None:
    """Cancel a task that is not final; an attempt that is out is killed and fenced off."""
    if task.state in OPEN_TASK_STATES:
        kill_attempt(run, task, out)
        close_attempt(run, task, out)
        row = attempt_row(run, task, None)
        row.state, row.reason_code, row.message = TaskState.CANCELLED, code, reason
        row.ended_at = out.now
        out.batch.attempts[run.run_id, row.index, row.attempt] = row
    task.row.ended_at = out.now
    change_task(run, task, TaskEvent.CANCELLED, out, code, reason)


def kill_attempt(run: LiveRun, task: LiveTask, out: Decision) -> None:
    """Ask the operator engine to kill the present attempt and remember that it may still live."""
    attempt_id = attempt_id_of(run.run_id, task.row.index, task.row.attempt)
    run.dying.add(attempt_id)
    out.kills.append((task.row.engine_id or "", attempt_id))


def close_attempt(run: LiveRun, task: LiveTask, out: Decision) -> None:
    """Count the present attempt as no longer out."""
    run.n_open -= 1
    attempt_id = attempt_id_of(run.run_id, task.row.index, task.row.attempt)
    out.closed.append((task.row.engine_id or "", attempt_id))


def set_patience(run: LiveRun, out: Decision) -> None:
    """Bound the wait for a cancelled run's processes."""
    at = out.now + dt.timedelta(seconds=CANCEL_PATIENCE_S)
    out.timers.append(Timer(at, "cancel", run.run_id))


def set_timeout(run: LiveRun, task: LiveTask, out: Decision) -> None:
    """Set the backstop behind an executor's own timeout.

    It counts from now: another machine's clock, or this one's before it was set back, may say that
    the attempt starts in an hour.
    """
    if task.plan.timeout_s is not None:
        at = out.now + dt.timedelta(seconds=task.plan.timeout_s + TIMEOUT_BACKSTOP_S)
        out.timers.append(Timer(at, "timeout", run.run_id, task.row.index, task.row.attempt))


def settle(run: LiveRun, out: Decision) -> None:
    """Move the run on where its tasks allow it."""
    if run.is_final:
        return
    if run.state is RunState.CANCELLING:
        if run.n_unfinished == 0 and not run.dying:
            _end_run(run, RunEvent.ALL_STOPPED, out, run.row.reason_code, run.row.reason)
        return
    if run.n_unfinished == 0:
        culprit = _culprit(run)
        if culprit is None:
            _end_run(run, RunEvent.ALL_SUCCEEDED, out, "", "")
        else:
            text = f"{culprit.plan.operator} is {culprit.state}: {culprit.row.reason}"
            _end_run(run, RunEvent.SOME_FAILED, out, culprit.row.reason_code, text)
    elif run.state is RunState.PAUSING and run.n_open == 0:
        change_run(run, RunEvent.DRAINED, out, run.row.reason_code, run.row.reason)


def _culprit(run: LiveRun) -> LiveTask | None:
    """Return the task that makes a finished run a failed one: a failure before its consequences."""
    found = None
    for task in run.tasks:
        if task.state is TaskState.FAILED and provider(run, task.plan.index) is None:
            return task
        if found is None and task.state in (TaskState.CANCELLED, TaskState.UPSTREAM_FAILED):
            found = task
    return found


def _end_run(run: LiveRun, event: RunEvent, out: Decision, code: str, reason: str) -> None:
    run.row.ended_at = out.now
    change_run(run, event, out, code, reason)
    out.ended.append(run)
