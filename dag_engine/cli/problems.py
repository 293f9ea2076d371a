"""Turns a problem document (RFC 9457) into sentences with places and cures."""

from __future__ import annotations

from typing import Any


def describe_refusal(status: int, problem: dict[str, Any], source: str = "") -> str:
    """Describe why the API refused: its sentence, then every problem with its place and hint."""
    errors = problem.get("errors") or []
    lines = [*_describe_title(status, problem, errors), *describe_problems(errors, source)]
    if problem.get("hint"):
        lines.append(f"hint: {problem['hint']}")
    if status >= 500 and problem.get("request_id"):
        lines.append(f"request id: {problem['request_id']}")
    return "\n".join(lines)


def _describe_title(
    status: int, problem: dict[str, Any], errors: list[dict[str, Any]]
) -> list[str]:
    """Describe the whole in a sentence, unless that only repeats the first of the problems."""
    title = str(problem.get("detail") or problem.get("title") or f"It was answered {status}.")
    if not errors or not title.startswith(str(errors[0].get("message") or "\0")):
        return [title]
    return [f"There are {len(errors)} problems:"] if len(errors) > 1 else []


def describe_problems(problems: list[dict[str, Any]], source: str = "") -> list[str]:
    """Describe each problem on a line that starts with file:line:column, as editors like it."""
    lines = []
    for problem in problems:
        place = describe_place(problem, source)
        sentence = problem.get("message") or problem.get("detail") or problem.get("code", "")
        code = f" [{problem['code']}]" if problem.get("code") else ""
        operator = problem.get("operator")
        about = f"{operator}: " if operator and str(operator) not in str(sentence) else ""
        lines.append(f"{place}{about}{sentence}{code}")
        if problem.get("hint"):
            lines.append(f"    hint: {problem['hint']}")
    return lines


def describe_place(problem: dict[str, Any], source: str) -> str:
    """Tell where a problem is: file:line:column, or the JSON pointer."""
    if problem.get("line"):
        place = f"{source or 'line '}{':' if source else ''}{problem['line']}"
        if problem.get("column"):
            place += f":{problem['column']}"
        return f"{place}: "
    if problem.get("pointer"):
        return f"{problem['pointer']}: "
    return f"{source}: " if source else ""
