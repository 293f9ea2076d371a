"""Errors of the runtime, each with the reason that the outcome carries."""

from __future__ import annotations

from executors.base import FailureReason

_PRIVATE_HOST_HINT = (
    "Where the host really lies in a private network, name it under datasets.private_hosts in the "
    "configuration of the dag engine."
)


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


class EgressDeniedError(InvalidInputError):
    """A URL leads to where nothing may be fetched from."""

    def __init__(self, url: str, why: str, hint: str = _PRIVATE_HOST_HINT) -> None:
        super().__init__(f"{url[:200]} is not fetched (egress_denied): {why}.", hint)
        self.args = (url, why, hint)


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
