"""What the drivers' errors mean."""

from __future__ import annotations

import sqlite3

import pymysql
import pytest
import sqlalchemy.exc as sa_exc

from dag_engine.storage import failures

# The codes of the retry list in the manual pages of MySQL and MariaDB.
RETRIED = [
    1213, 1205, 1020, 1927, 1053, 1040, 1203, 2002, 2003, 2006, 2013, 2014, 2055, 4031, 1290,
    1792, 1836, 1047,
]  # fmt: skip


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("x")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize("code", RETRIED)
def test_these_errors_of_mysql_are_tried_again(code: int) -> None:
    error = pymysql.err.OperationalError(code, "x")
    assert failures.is_retryable(error)
    assert failures.is_retryable(sa_exc.OperationalError("SELECT 1", None, error))


@pytest.mark.parametrize("code", [1064, 1146, 1048, 1406, 1264, 1045, 1062])
def test_these_errors_of_mysql_are_for_good(code: int) -> None:
    assert not failures.is_retryable(pymysql.err.ProgrammingError(code, "x"))


@pytest.mark.parametrize(
    ("code", "is_retried"),
    [
        (sqlite3.SQLITE_BUSY, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, True),
        (sqlite3.SQLITE_LOCKED, True),
        (sqlite3.SQLITE_FULL, True),
        (sqlite3.SQLITE_IOERR_FSYNC, True),
        (sqlite3.SQLITE_CANTOPEN, True),
        (sqlite3.SQLITE_CORRUPT, False),
        (sqlite3.SQLITE_ERROR, False),
    ],
)
def test_sqlites_errors_are_told_apart(code: int, is_retried: bool) -> None:
    assert failures.is_retryable(sqlite_error(code)) == is_retried


def test_only_a_second_row_with_the_same_key_is_a_duplicate() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY, u TEXT UNIQUE, n TEXT NOT NULL)")
    connection.execute("INSERT INTO t VALUES ('a', 'b', 'c')")
    for values, expected in [
        ("'a', 'x', 'x'", True),
        ("'x', 'b', 'x'", True),
        ("'x', 'x', NULL", False),
    ]:
        with pytest.raises(sqlite3.IntegrityError) as caught:
            connection.execute(f"INSERT INTO t VALUES ({values})")
        assert failures.is_duplicate(caught.value) == expected
    connection.close()
    assert failures.is_duplicate(pymysql.err.IntegrityError(1062, "Duplicate entry"))
    assert not failures.is_duplicate(pymysql.err.IntegrityError(1048, "cannot be null"))


def test_a_closed_connection_counts_as_lost() -> None:
    assert failures.is_away(pymysql.err.InterfaceError(0, ""))
    assert not failures.is_away(pymysql.err.OperationalError(1213, "x"))


def test_a_description_is_one_line_without_the_statement() -> None:
    orig = pymysql.err.OperationalError(1213, "Deadlock\nfound")
    error = sa_exc.OperationalError("SELECT secret", {"password": "x"}, orig)
    assert failures.describe(error) == "1213: Deadlock found"
