"""Tells which attempts were made without cause.

An attempt that did not succeed needs a cause of its own: the failure that its DAG plans, a cancel
that was asked for, or a fault that could end it in just this way at just this time. And a task that
lost attempts needs as many causes as it lost attempts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.support.chaos.faults import EVERYTHING, FaultRecord
from tests.support.chaos.history import History, StoredAttempt
from tests.support.chaos.shapes import STOPPED, Shape, Step, draw_shape

NOTICED_S = 5.0
"""So long after a lease has run out, or a process is back, its loss is decided at the latest."""
_EARLY_S = 0.05


def find_unexplained(history: History) -> Iterator[str]:
    """Name the attempts and the executions that nothing explains."""
    shapes = {run.run_id: draw_shape(run.key) for run in history.runs if run.key in history.asked}
    operators = {(task.run_id, task.index): task.operator for task in history.tasks}
    losses: dict[tuple[str, int], list[StoredAttempt]] = defaultdict(list)
    for row in history.attempts:
        shape = shapes.get(row.run_id)
        if shape is None or row.state == "succeeded":
            continue
        step = _find_step(shape, operators[row.run_id, row.index])
        if row.reason == "error" and row.attempt <= step.fail_first:
            continue
        if row.state == "cancelled" and shape.name == STOPPED:
            continue
        if row.state != "failed" or row.reason not in ("lost", "killed"):
            yield f"{row.attempt_id} is {row.state}: {row.reason} {row.message}"
            continue
        losses[row.run_id, row.index].append(row)
    for rows in losses.values():
        yield from _find_causeless(rows, history)
    yield from _find_repeated(history)


def _find_step(shape: Shape, operator: str) -> Step:
    return next(step for step in shape.steps if step.name == operator)


def _find_causeless(rows: list[StoredAttempt], history: History) -> Iterator[str]:
    """Name losses without a cause, and a task with more losses than causes."""
    causes: list[set[int]] = []
    for row in rows:
        found = {fault.number for fault in history.faults if can_end(fault, row, history.lease_s)}
        if not found:
            yield f"{row.attempt_id} on {row.engine} ended at {row.ended_at}: {row.message}"
        causes.append(found)
    n_causes = len(set.union(*causes)) if causes else 0
    if all(causes) and n_causes < len(rows):
        yield f"{rows[0].attempt_id} and others: {len(rows)} losses, {n_causes} faults"


def can_end(fault: FaultRecord, row: StoredAttempt, lease_s: float) -> bool:
    """Tell whether a fault can be why this attempt was lost or killed."""
    if row.ended_at is None or row.ended_at < fault.began - _EARLY_S:
        return False
    if row.queued_at > fault.ended + NOTICED_S:
        return False
    is_worker_kill = fault.kind == "kill" and fault.target.endswith("pool worker")
    if is_worker_kill:
        return fault.attempt_id == row.attempt_id or any(
            row.worker.endswith(f":{pid}") for pid in fault.pids
        )
    if row.engine not in fault.reach and fault.target != EVERYTHING:
        return False
    if row.reason == "killed":
        # Its worker ended by a signal: with its supervisor, or with everything on its engine.
        return fault.kind.startswith("kill") and row.ended_at <= fault.ended + NOTICED_S
    return row.ended_at <= fault.ended + lease_s + NOTICED_S


def _find_repeated(history: History) -> Iterator[str]:
    """Name attempts that were executed more than once, or accepted without being executed."""
    starts: dict[str, list[float]] = defaultdict(list)
    ended = set()
    for line in history.ledger:
        if line.what == "start":
            starts[line.attempt_id].append(line.at)
        elif line.what == "end":
            ended.add(line.attempt_id)
    engines = {row.attempt_id: row for row in history.attempts}
    for attempt_id, moments in starts.items():
        row = engines.get(attempt_id)
        if row is None:
            yield f"{attempt_id} was executed and is not known"
        elif len(moments) > 1:
            yield f"{attempt_id} was executed {len(moments)} times: {moments}"
    for row in history.attempts:
        if row.state == "succeeded" and row.attempt_id not in ended:
            yield f"{row.attempt_id} was accepted and never came to its end"
