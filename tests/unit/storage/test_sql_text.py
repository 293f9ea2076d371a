"""No statement is put together from text: values are bound, and names come from the tables.

The code is read, not run: whatever begins like SQL must be a constant, and what is handed to a
database must not be joined where it is handed over.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("dag_engine", "operator_engine", "executors", "algorithms", "sql")
_BEGINS_LIKE_SQL = re.compile(
    r"\s*(SELECT|INSERT|REPLACE|UPDATE|DELETE|CREATE|DROP|ALTER|SET|PRAGMA|SHOW|KILL|ATTACH|VACUUM|"
    r"BEGIN|GRANT|CALL|WITH|LOCK|TRUNCATE)\s"
)
_TAKES_SQL = {"text", "exec_driver_sql", "execute", "executemany", "executescript", "DDL", "query"}

ALLOWED = {
    # file: what is put in, and why it cannot be a client's
    "dag_engine/storage/backup.py": "names of our tables and columns",
    "dag_engine/storage/database.py": "a number of milliseconds",
    "dag_engine/storage/migrate.py": "the database's name, from the configuration, quoted",
    "dag_engine/storage/restore.py": "names of our tables",
    "dag_engine/storage/schema.py": "the generated schema",
}


def is_joined(node: ast.AST) -> bool:
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add | ast.Mod) and (
            holds_text(node.left) or holds_text(node.right)
        )
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in {"format", "format_map", "join"} and holds_text(node.func.value)
    return False


def holds_text(node: ast.AST) -> bool:
    return is_joined(node) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def first_words(node: ast.AST) -> str:
    """Give the constant text with which a joined text begins."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return first_words(node.values[0]) if node.values else ""
    if isinstance(node, ast.BinOp):
        return first_words(node.left)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return first_words(node.func.value)
    return ""


def find_joined(source: str) -> Iterator[int]:
    """Yield the lines in which SQL is put together from text."""
    for node in ast.walk(ast.parse(source)):
        if is_joined(node) and _BEGINS_LIKE_SQL.match(first_words(node)):
            yield node.lineno
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in _TAKES_SQL and node.args and is_joined(node.args[0]):
                yield node.lineno


def python_files() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_statement_is_put_together_from_text() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in python_files()
        for line in find_joined(path.read_text(encoding="utf-8"))
    }

    assert {place for place in found if place.rpartition(":")[0] not in ALLOWED} == set()
    assert {place.rpartition(":")[0] for place in found} == set(ALLOWED)


@pytest.mark.parametrize(
    "line",
    [
        'f"SELECT * FROM runs WHERE id = {run_id}"',
        '"SELECT * FROM " + table',
        '"DELETE FROM runs WHERE id = %s" % run_id',
        '"UPDATE runs SET state = {}".format(state)',
        'connection.execute(sa.text(f"{verb} runs"))',
        'connection.exec_driver_sql("x " + name)',
    ],
)
def test_the_test_finds_what_it_looks_for(line: str) -> None:
    assert list(find_joined(line))


@pytest.mark.parametrize(
    "line",
    [
        'connection.execute(sa.text("SELECT 1 WHERE id = :id"), {"id": run_id})',
        'f"Select one of {names}."',
        "connection.exec_driver_sql(statement.sql, rows)",
    ],
)
def test_the_test_leaves_alone_what_is_bound(line: str) -> None:
    assert not list(find_joined(line))
