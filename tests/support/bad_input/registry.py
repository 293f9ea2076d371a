"""The table of bad input: every case with its number, what is sent, and what is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.bad_input.bench import Bench

N_CASES = 49

Check = Callable[["Bench"], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of bad input.

    `answers` are all refusals that may and must be seen while `check` runs, as `<status> <code>` of
    the API or `run <reason>` of a task; what is taken in and stays harmless is told in `about`.
    """

    id: str
    title: str
    answers: tuple[str, ...]
    about: str
    check: Check


CASES: dict[str, Case] = {}


def case(number: int, title: str, *answers: str, about: str = "") -> Callable[[Check], Check]:
    """Enter a case into the table."""

    def enter(check: Check) -> Check:
        name = f"S{number}"
        if name in CASES:
            raise ValueError(f"{name} stands twice in the table")
        CASES[name] = Case(name, title, answers, about, check)
        return check

    return enter


def write_table() -> str:
    """Write the table as it stands in docs/reliability.md."""
    lines = ["| id | what is sent | what is answered |", "|---|---|---|"]
    for number in range(1, N_CASES + 1):
        found = CASES[f"S{number}"]
        told = ", ".join(_show(answer) for answer in found.answers)
        about = "; ".join(part for part in (told, found.about) if part)
        lines.append(f"| {found.id} | {found.title} | {about} |")
    return "\n".join(lines)


def _show(answer: str) -> str:
    kind, _, code = answer.partition(" ")
    return f"{kind} `{code}`"
