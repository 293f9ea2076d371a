"""The only functions that give a run or a task another state, with the rows that tell of it."""

from __future__ import annotations

from dag_engine.core.changes import AttemptRow, EventRow
from dag_engine.core.live import Decision, LiveRun, LiveTask
from dag_engine.core.states import RunEvent, RunState, TaskEvent, TaskState, move_run, move_task
from executors.base import Outcome


def change_run(
    run: LiveRun, event: RunEvent, out: Decision, code: str = "", reason: str = ""
) -> None:
    """Move a run on by an event and note it. Raises `IllegalMoveError`."""
    old = run.state
    run.state = move_run(old, event)
    row = run.row
    row.state, row.reason_code, row.reason = run.state, code, reason
    if row.started_at is None and run.state is RunState.RUNNING:
        row.started_at = out.now
    _note(run, out, None, (old, run.state), code, reason)


def change_task(
    run: LiveRun,
    task: LiveTask,
    event: TaskEvent,
    out: Decision,
    code: str = "",
    reason: str = "",
) -> None:
    """Move a task on by an event, count and note its new state. Raises `IllegalMoveError`."""
    old = task.state
    task.state = move_task(old, event)
    row, counts = task.row, run.row.counts
    row.state, row.reason_code, row.reason = task.state, code, reason
    counts[old] -= 1
    counts[task.state] = counts.get(task.state, 0) + 1
    run.n_unfinished -= task.is_final
    out.batch.tasks[run.run_id, row.index] = row
    _note(run, out, task, (old, task.state), code, reason)


def _note(
    run: LiveRun,
    out: Decision,
    task: LiveTask | None,
    states: tuple[str, str],
    code: str,
    reason: str,
) -> None:
    run.row.last_seq += 1
    if task is None:
        out.batch.counted_runs.discard(run.run_id)
    elif run.run_id not in out.batch.runs:
        out.batch.counted_runs.add(run.run_id)
    out.batch.runs[run.run_id] = run.row
    out.batch.events.append(
        EventRow(
            run_id=run.run_id,
            seq=run.row.last_seq,
            at=out.now,
            kind="run" if task is None else "task",
            operator=None if task is None else task.plan.operator,
            attempt=0 if task is None else task.row.attempt,
            from_state=states[0],
            to_state=states[1],
            reason_code=code,
            reason=reason,
        )
    )


def attempt_row(run: LiveRun, task: LiveTask, outcome: Outcome | None) -> AttemptRow:
    """Describe the present attempt of a task, as far as an outcome tells of it."""
    row = task.row
    attempt = AttemptRow(
        run_id=run.run_id,
        index=row.index,
        attempt=row.attempt,
        state=TaskState.RUNNING,
        engine_id=row.engine_id or "",
        started_at=row.started_at,
    )
    if outcome is None:
        return attempt
    attempt.state = outcome.state or TaskState.RUNNING
    attempt.reason_code, attempt.message = outcome.reason, outcome.message
    attempt.hint, attempt.traceback = outcome.hint, outcome.traceback
    attempt.exit_code, attempt.signal = outcome.exit_code, outcome.signal
    attempt.worker, attempt.log_bytes = outcome.worker, outcome.log_bytes
    return attempt
