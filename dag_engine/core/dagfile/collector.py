"""Gathers the problems of one document, with line and column."""

from __future__ import annotations

from dag_engine.core.dagfile.positions import Places
from dag_engine.core.problems import MAX_PROBLEMS, Path, Problem, make_pointer


class ProblemCollector:
    """Takes problems by path; the first `MAX_PROBLEMS` are kept, the rest are counted.

    A place that could not be read is masked: what is found wrong there later is only a consequence
    of it. Without positions (a value that has no text) line and column stay open.
    """

    def __init__(self, positions: Places | None = None) -> None:
        self.problems: list[Problem] = []
        self.n_more = 0
        self._positions = positions
        self._masked: set[Path] = set()

    def __bool__(self) -> bool:
        return bool(self.problems)

    @property
    def is_full(self) -> bool:
        """Whether further problems would only be counted."""
        return len(self.problems) >= MAX_PROBLEMS

    def make_empty(self) -> ProblemCollector:
        """Return a collector without problems for the same text."""
        return ProblemCollector(self._positions)

    def count(self, n_problems: int) -> None:
        """Count problems that are not told one by one."""
        self.n_more += n_problems

    def mask(self, path: Path) -> None:
        """Ignore problems at this place and below it."""
        self._masked.add(path)

    def add(
        self,
        code: str,
        message: str,
        path: Path,
        *,
        operator: str | None = None,
        port: int | None = None,
        hint: str = "",
        is_key: bool = False,
    ) -> None:
        """Record a problem at a path; `is_key` points to the key instead of the value."""
        if self._masked and any(path[:depth] in self._masked for depth in range(len(path) + 1)):
            return
        if self.is_full:
            self.n_more += 1
            return
        line, column = (
            self._positions.find(path, is_key=is_key) if self._positions else (None, None)
        )
        self.problems.append(
            Problem(
                code=code,
                message=message,
                operator=operator,
                port=port,
                pointer=make_pointer(path),
                line=line,
                column=column,
                hint=hint,
            )
        )

    def finish(self) -> list[Problem]:
        """Return the problems in the order of the text, with a note where some were left out."""
        found = sorted(self.problems, key=lambda p: (p.line or 0, p.column or 0))
        if self.n_more:
            found.append(
                Problem(
                    code="more_problems",
                    message=f"There are {self.n_more:,} more problems.",
                    hint="Cure the ones above first.",
                )
            )
        return found
