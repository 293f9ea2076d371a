"""Errors of the command line: each is shown as sentences, never as a traceback."""

from __future__ import annotations

from typing import Any

EXIT_SUCCEEDED = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CANCELLED = 3
EXIT_UNREACHABLE = 4
EXIT_REFUSED = 5
EXIT_STILL_RUNNING = 6
EXIT_INTERRUPTED = 130


class CliError(Exception):
    """Base of what a command ends with; `exit_code` is what the program then answers."""

    exit_code = EXIT_FAILED


class ConfigError(CliError):
    """The configuration cannot be used; `problems` has a sentence for each thing wrong."""

    exit_code = EXIT_USAGE

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"The configuration cannot be used: {self.problems[0]}"
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        return f"The configuration cannot be used:{lines}"


class UsageError(CliError):
    """The command was called in a way that makes no sense."""

    exit_code = EXIT_USAGE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UnreachableError(CliError):
    """The API does not answer, or answers that it cannot serve just now."""

    exit_code = EXIT_UNREACHABLE

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(url, detail)
        self.url = url
        self.detail = detail

    def __str__(self) -> str:
        return (
            f"Cannot reach the dag engine at {self.url}: {self.detail}.\n"
            "Start one with `dagengine serve`, or name another with --url or DAGENGINE_URL."
        )


class RefusedError(CliError):
    """The API refused the request and said why (a problem document, RFC 9457)."""

    exit_code = EXIT_REFUSED

    def __init__(self, status: int, problem: dict[str, Any], source: str = "") -> None:
        super().__init__(status, problem, source)
        self.status = status
        self.problem = problem
        self.source = source

    def __str__(self) -> str:
        from dag_engine.cli.problems import describe_refusal

        return describe_refusal(self.status, self.problem, self.source)


class ServiceError(CliError):
    """A service could not be started, or ended by itself."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message
