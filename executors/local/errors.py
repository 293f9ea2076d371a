"""Errors of the local executor."""

from __future__ import annotations

from executors.errors import ExecutorError


class LocalOptionsError(ExecutorError):
    """The options of a local executor are not what they should be."""

    def __init__(self, executor: str, detail: str) -> None:
        super().__init__(executor, detail)
        self.executor = executor
        self.detail = detail

    def __str__(self) -> str:
        return f"Options of executor {self.executor!r}: {self.detail}"


class CgroupsUnusableError(ExecutorError):
    """No cgroups with limits can be made here."""
