"""The diagrams of docs/state_machine.md say what the tables of the code say."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

from dag_engine.core.states import (
    FINAL_RUN_STATES,
    FINAL_TASK_STATES,
    RUN_MOVES,
    TASK_MOVES,
    TaskState,
)

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


def test_every_state_of_a_task_is_explained() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(explained) == set(map(str, TaskState))
