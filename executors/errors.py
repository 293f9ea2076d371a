"""Errors of the executors."""

from __future__ import annotations

import errno


class ExecutorError(Exception):
    """Base of what an executor raises."""


class ExecutorUnavailableError(ExecutorError):
    """The back end cannot be reached just now; the call may be repeated."""

    def __init__(self, executor: str, detail: str) -> None:
        super().__init__(executor, detail)
        self.executor = executor
        self.detail = detail

    def __str__(self) -> str:
        return f"Executor {self.executor!r} cannot be reached: {self.detail}. It is tried again."


class UnknownAttemptError(ExecutorError):
    """The executor holds nothing under this handle."""

    def __init__(self, handle: str) -> None:
        super().__init__(handle)
        self.handle = handle

    def __str__(self) -> str:
        return f"No attempt {self.handle!r} is known here."


class SealError(ExecutorError):
    """Secrets cannot be sealed for an operator engine, or opened by it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class CatalogueError(ExecutorError):
    """Some algorithms cannot be offered, so none are: each problem names its file."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "The algorithms cannot be offered. " + " ".join(self.problems)


class NotPlainError(FileNotFoundError):
    """Something else than a plain file stands at this place; to a reader there is no file."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ENOENT, "a link or special file stands in the place of a file", path)

    def __reduce__(self) -> tuple[type[NotPlainError], tuple[str]]:
        return type(self), (self.filename,)
