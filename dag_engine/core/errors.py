"""Errors of the decisions: a DAG file, a range or a parameter that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dag_engine.core.problems import Problem

_TOO_LARGE_CODES = frozenset({"too_large"})
_UNREADABLE_CODES = frozenset(
    {
        "bad_encoding",
        "duplicate_key",
        "empty_file",
        "json_syntax",
        "not_a_mapping",
        "several_documents",
        "too_deep",
        "yaml_alias_forbidden",
        "yaml_merge_forbidden",
        "yaml_syntax",
        "yaml_tag_forbidden",
    }
)


class CoreError(Exception):
    """Base of what the core raises; `http_status` is what the api answers."""

    http_status = 422


class ProblemsError(CoreError):
    """Something was refused; `problems` tells all of it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(list(problems))
        self.problems = list(problems)

    def __str__(self) -> str:
        if not self.problems:
            return "Refused."
        first = self.problems[0]
        place = f" (line {first.line}, column {first.column})" if first.line else ""
        rest = f" And {len(self.problems) - 1} more." if len(self.problems) > 1 else ""
        return f"{first.message}{place}{rest}"


class DagFileError(ProblemsError):
    """A DAG file is refused.

    `http_status` is 413 for a file that is too large, 400 for one that cannot be read as a single
    document of plain data, and 422 for one whose content is wrong.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        codes = {problem.code for problem in problems}
        if codes & _TOO_LARGE_CODES:
            self.http_status = 413
        elif codes & _UNREADABLE_CODES:
            self.http_status = 400


class PlanRefusedError(ProblemsError):
    """A run cannot be planned: the range, a parameter override, a dataset or the catalogue does
    not allow it.
    """


class MissingArtifactsError(CoreError):
    """Operators outside the range lack a former result.

    `lacking` maps the operator to a sentence that says what it lacks.
    """

    http_status = 409

    def __init__(self, lacking: Mapping[str, str]) -> None:
        super().__init__(dict(lacking))
        self.lacking = dict(lacking)

    def __str__(self) -> str:
        named = [f"{operator}: {what}" for operator, what in list(self.lacking.items())[:5]]
        rest = f" And {len(self.lacking) - 5} more." if len(self.lacking) > 5 else ""
        return f"What lies outside the range must have run before. {' '.join(named)}{rest}"


class IllegalMoveError(CoreError):
    """An event came that the table of moves does not know in this state."""

    http_status = 409

    def __init__(self, subject: str, state: str, event: str) -> None:
        super().__init__(subject, state, event)
        self.subject = subject
        self.state = state
        self.event = event

    def __str__(self) -> str:
        return f"A {self.subject} in state {self.state!r} knows no event {self.event!r}."
