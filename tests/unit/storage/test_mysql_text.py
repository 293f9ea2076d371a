"""Statements written out for MySQL."""

from __future__ import annotations

import datetime as dt

import pytest

from dag_engine.storage.mysql_text import gather, literal, render
from dag_engine.storage.statements import Statement, compile_statements


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "NULL"),
        (0, "0"),
        (-7, "-7"),
        (0.1, "0.1"),
        ("", "''"),
        ("信用 %s", "'信用 %s'"),
        ("it's", r"'it\'s'"),
        ("a\\", r"'a\\'"),
        ("\\'; DROP TABLE runs; --", r"'\\\'; DROP TABLE runs; --'"),
        ('"\0\n\r\x1a', r"'\"\0\n\r\Z'"),
        (b"it's\0", "x'6974277300'"),
    ],
)
def test_a_value_cannot_leave_its_quotes(value: object, expected: str) -> None:
    assert literal(value) == expected


@pytest.mark.parametrize("value", [bytearray(b"x"), True, dt.datetime.now(dt.UTC), [1]])
def test_a_value_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        literal(value)


def test_rows_are_joined_into_few_statements() -> None:
    statement = Statement("", "INSERT INTO t VALUES ", "(%s)", " ON DUPLICATE KEY UPDATE x=1")
    assert list(render(statement, [("a",), (1,)])) == [
        "INSERT INTO t VALUES ('a'),(1) ON DUPLICATE KEY UPDATE x=1"
    ]
    many = list(render(statement, [("x" * 100_000,)] * 30))
    assert len(many) == 3
    assert max(len(text) for text in many) < 1_300_000


def test_messages_stay_below_the_servers_limit() -> None:
    statements = ["a" * 900_000] * 5 + ["b"]
    messages = list(gather(iter(statements)))
    assert ";".join(messages) == ";".join(statements)
    assert max(len(message) for message in messages) < 4_000_000


@pytest.mark.parametrize("dialect", ["sqlite", "mysql"])
def test_every_statement_has_a_marker_for_each_value(dialect: str) -> None:
    marker = "?" if dialect == "sqlite" else "%s"
    compiled = compile_statements(dialect)
    n_values = {
        "save_task": 16,
        "save_attempt": 17,
        "add_event": 11,
        "update_run": 8,
        "count_run": 3,
    }
    for name, number in n_values.items():
        assert compiled[name].sql.count(marker) == number
    # The order of an UPDATE's markers is that of the rows, not that of the table.
    text = compiled["update_run"].sql
    assert text.index("state") < text.index("started_at") < text.index("counts")
