"""Outcomes that the operator engine makes up itself, where no executor tells them."""

from __future__ import annotations

import datetime as dt

from executors.base import Outcome


def cancelled_before_start(attempt_id: str) -> Outcome:
    """Make the end of an attempt that was cancelled before an executor had it."""
    return Outcome(
        attempt_id=attempt_id,
        kind="ended",
        state="cancelled",
        message="Cancelled before it was started.",
        ended_at=dt.datetime.now(dt.UTC),
    )


def refused_by_executor(attempt_id: str, executor: str, detail: str) -> Outcome:
    """Make the end of an attempt that its executor would not take."""
    return Outcome(
        attempt_id=attempt_id,
        kind="ended",
        state="failed",
        reason="error",
        message=f"Executor {executor!r} did not take the task: {detail}",
        ended_at=dt.datetime.now(dt.UTC),
    )


def without_secrets(attempt_id: str, detail: str) -> Outcome:
    """Make the end of an attempt whose secrets cannot be opened here."""
    return Outcome(
        attempt_id=attempt_id,
        kind="ended",
        state="failed",
        reason="error",
        message=detail,
        hint="Start the run again; the operator engine announces its present key by itself.",
        ended_at=dt.datetime.now(dt.UTC),
    )
