"""Whether a failed attempt is tried again, when, and by which name the failure goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import msgspec

from dag_engine.core.changes import TaskRow
from dag_engine.core.plan import PlannedTask
from executors.base import FailureReason, Outcome

INFRASTRUCTURE_REASONS = frozenset({"lost", "killed"})
LOSS_BUDGET = 3
"""So many losses of a task to infrastructure are forgiven; the next one puts it in quarantine."""
LONGEST_DELAY_S = 3600.0
LARGEST_SPREAD = 1.25
NEVER_RETRIED = frozenset({"invalid_input", "quarantined"})
_REASONS = frozenset(get_args(FailureReason))
_LONGEST_WORD = 100


@dataclass(frozen=True, slots=True)
class Ruling:
    """What becomes of a failed attempt; `delay_s` is None where it is not tried again."""

    reason_code: str
    reason: str
    n_failures: int
    n_losses: int
    delay_s: float | None


def normalise(outcome: Outcome, n_outputs: int) -> Outcome:
    """Make one well-formed end of whatever an executor told."""
    if outcome.state == "succeeded" and len(outcome.outputs) != n_outputs:
        return msgspec.structs.replace(
            outcome,
            state="failed",
            reason="invalid_output",
            message=f"{n_outputs} outputs were declared, {len(outcome.outputs)} came.",
            outputs=[],
        )
    if outcome.state is None:
        return msgspec.structs.replace(
            outcome, state="failed", reason="lost", message="It ended without saying how."
        )
    if outcome.state == "failed" and outcome.reason not in _REASONS:
        words = [word for word in (outcome.reason[:_LONGEST_WORD], outcome.message) if word]
        return msgspec.structs.replace(outcome, reason="error", message=": ".join(words))
    if outcome.state != "failed" and outcome.reason:
        return msgspec.structs.replace(outcome, reason="")
    return outcome


def longest_wait_s(plan: PlannedTask, row: TaskRow) -> float:
    """Return the longest that a task may have to wait after its last failure, as it stands in its
    row: a clock that was set back must not make it longer.
    """
    if row.reason_code in INFRASTRUCTURE_REASONS:
        return 0.0 if row.n_losses <= 1 else 2.0 ** (row.n_losses - 2) * LARGEST_SPREAD
    delay_s = plan.retry_delay_s * 2.0 ** max(0, row.n_failures - 1)
    return min(delay_s, LONGEST_DELAY_S) * LARGEST_SPREAD


def rule(plan: PlannedTask, row: TaskRow, outcome: Outcome, jitter: float) -> Ruling:
    """Decide on a failure. `jitter` is a random number in [0, 1) that spreads the delays by ±25
    %.
    """
    reason = outcome.message or outcome.reason
    n_failures, n_losses = row.n_failures, row.n_losses
    spread = 0.75 + jitter / 2
    if outcome.reason == "lost" and outcome.is_handed_back:
        return Ruling("lost", reason, n_failures, n_losses, 0.0)
    if outcome.reason in INFRASTRUCTURE_REASONS:
        n_losses += 1
        if n_losses > LOSS_BUDGET:
            text = f"It was lost or killed {n_losses} times, the last time: {reason}"
            return Ruling("quarantined", text, n_failures, n_losses, None)
        delay_s = 0.0 if n_losses == 1 else 2.0 ** (n_losses - 2) * spread
        return Ruling(outcome.reason, reason, n_failures, n_losses, delay_s)
    is_named = outcome.reason in plan.retry_on and outcome.reason not in NEVER_RETRIED
    if is_named and n_failures < plan.retries:
        delay_s = min(plan.retry_delay_s * 2.0**n_failures, LONGEST_DELAY_S) * spread
        return Ruling(outcome.reason, reason, n_failures + 1, n_losses, delay_s)
    return Ruling(outcome.reason, reason, n_failures, n_losses, None)
