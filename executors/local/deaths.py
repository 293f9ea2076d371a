"""Gives the death of a worker its name."""

from __future__ import annotations

import os
import signal

import msgspec

from executors.base import Outcome
from executors.local import cgroups, pens
from executors.local.book import Attempt, cancelled, failed, handed_back

_CRASHES = (signal.SIGSEGV, signal.SIGBUS)


def signal_name(number: int) -> str:
    """Return `SIGKILL` for 9, and so on."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe_death(
    attempt: Attempt, result: os.waitid_result, *, is_out_of_memory: bool
) -> Outcome:
    """Say how the attempt ended whose worker died.

    `is_out_of_memory`: the kernel killed some process for want of memory just now.
    """
    if attempt.cause == "cancel":
        return cancelled(attempt, "Cancelled.")
    if attempt.cause == "stop":
        return handed_back(attempt, "Its operator engine was stopped before it ended.")
    if attempt.cause == "timeout":
        return failed(
            attempt,
            "timeout",
            f"The attempt ran longer than its limit of {attempt.head.timeout_s:g} s.",
            "Give the operator a longer timeout, or less to do.",
        )
    if attempt.cause == "memory":
        return failed(attempt, "out_of_memory", attempt.detail, cgroups.HINT)
    if attempt.cause == "processes":
        return failed(attempt, "too_many_processes", attempt.detail, pens.HINT)
    if result.si_code == os.CLD_EXITED:
        outcome = failed(
            attempt,
            "exited",
            attempt.detail or f"The worker process exited with code {result.si_status}.",
            "An algorithm must return or raise, not end its process. The log may say more.",
        )
        return msgspec.structs.replace(outcome, exit_code=result.si_status)
    outcome = _describe_signal(attempt, result.si_status, is_out_of_memory=is_out_of_memory)
    return msgspec.structs.replace(outcome, signal=result.si_status)


def _describe_signal(attempt: Attempt, number: int, *, is_out_of_memory: bool) -> Outcome:
    if attempt.detail:  # we killed it ourselves
        return failed(attempt, "exited", attempt.detail, "An algorithm must not close it.")
    if number == signal.SIGKILL and is_out_of_memory:
        return failed(
            attempt,
            "out_of_memory",
            "The machine ran out of memory and the kernel killed the worker process.",
            "Run fewer tasks at once, give them memory limits, or use smaller inputs.",
        )
    if number in _CRASHES:
        return failed(
            attempt,
            "segfault",
            f"The worker process crashed ({signal_name(number)}).",
            "A native library failed; the log ends with the Python stack at that moment.",
        )
    return failed(
        attempt,
        "killed",
        f"The worker process was killed by {signal_name(number)}.",
        "It was not this engine that killed it; the log may say more.",
    )
