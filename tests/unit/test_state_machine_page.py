"""The diagrams of docs/state_machine.md say what the tables of the code say."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import get_args

from dag_engine.core.states import (
    FINAL_RUN_STATES,
    FINAL_TASK_STATES,
    NOT_NEEDED,
    RUN_MOVES,
    TASK_MOVES,
    TaskState,
)
from executors.base import FailureReason

PAGE = Path(__file__).resolve().parents[2] / "docs" / "state_machine.md"
MOVE = re.compile(r"^\s*(\w+) --> (\w+): (\w+)$", re.MULTILINE)
END = re.compile(r"^\s*(\w+) --> \[\*\]$", re.MULTILINE)


def read_diagram(number: int) -> str:
    return re.findall(r"```mermaid\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[number]


def flatten(moves: dict[tuple[StrEnum, StrEnum], StrEnum]) -> set[tuple[str, str, str]]:
    return {(str(state), str(after), str(event)) for (state, event), after in moves.items()}


def test_diagram_of_tasks_is_the_table_of_tasks() -> None:
    diagram = read_diagram(0)
    assert set(MOVE.findall(diagram)) == flatten({**TASK_MOVES})
    assert set(END.findall(diagram)) == set(map(str, FINAL_TASK_STATES))


def test_diagram_of_runs_is_the_table_of_runs() -> None:
    diagram = read_diagram(1)
    assert set(MOVE.findall(diagram)) == flatten({**RUN_MOVES})
    assert set(END.findall(diagram)) == set(map(str, FINAL_RUN_STATES))


def read_first_column(title: str) -> set[str]:
    page = PAGE.read_text(encoding="utf-8")
    table = re.search(rf"^\| {title} \|.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert table is not None
    return set(re.findall(r"^\| `(\w+)` \|", table[1], re.MULTILINE))


def test_every_state_of_a_task_is_explained() -> None:
    assert read_first_column("state") == set(map(str, TaskState))


def test_every_way_to_fail_is_explained() -> None:
    assert read_first_column("reason") >= {*get_args(FailureReason), NOT_NEEDED}
