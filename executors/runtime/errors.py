"""Errors of the runtime, each with the reason that the outcome carries."""

from __future__ import annotations

from executors.base import FailureReason


class RuntimeFailureError(Exception):
    """Base of what ends an attempt; shown to people without a traceback.

    Parameters
    ----------
    message : str
        What was expected and what came.
    hint : str
        What to do about it.
    """

    reason: FailureReason = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class InvalidInputError(RuntimeFailureError):
    """A parameter, dataset or input artifact is not what the algorithm declares."""

    reason: FailureReason = "invalid_input"


class InvalidOutputError(RuntimeFailureError):
    """What the algorithm returned is not what it declares."""

    reason: FailureReason = "invalid_output"


class LoadingError(RuntimeFailureError):
    """The algorithm's code cannot be loaded, or is not what was offered."""


class AttemptCancelledError(BaseException):
    """Someone asked to stop; derived from BaseException so that no `except Exception` eats it."""

    def __init__(self, signal_number: int | None = None) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
