"""Which errors of the drivers mean `try again`, and which mean that the request itself is bad."""

from __future__ import annotations

import sqlite3

import pymysql
import sqlalchemy.exc as sa_exc

# Lock trouble: the transaction was or must be rolled back and may be repeated at once.
_MYSQL_CONTENTION = {1213, 1205, 1020}
# The server or the way to it is away, failing over, or out of space.
_MYSQL_AWAY = {
    0, 1021, 1040, 1047, 1053, 1114, 1152, 1154, 1159, 1160, 1161, 1184, 1203, 1226, 1290, 1792,
    1836, 1927, 2002, 2003, 2006, 2012, 2013, 2014, 2027, 2055, 4031,
}  # fmt: skip
# A row with this key is there already.
_MYSQL_DUPLICATE = {1022, 1062, 1586}

_SQLITE_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SQLITE_CONTENTION = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SQLITE_AWAY = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
}


def driver_error(error: BaseException) -> BaseException:
    """Find the driver's own error inside SQLAlchemy's."""
    if isinstance(error, sa_exc.DBAPIError) and error.orig is not None:
        return error.orig
    return error


def _mysql_code(error: BaseException) -> int | None:
    if isinstance(error, pymysql.err.Error):
        return error.args[0] if error.args and isinstance(error.args[0], int) else 0
    return None


def _sqlite_code(error: BaseException) -> int | None:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF
    return None


def is_contention(error: BaseException) -> bool:
    """Whether others held the locks: repeat the whole transaction at once."""
    error = driver_error(error)
    return _mysql_code(error) in _MYSQL_CONTENTION or _sqlite_code(error) in _SQLITE_CONTENTION


def is_away(error: BaseException) -> bool:
    """Whether the database cannot be used just now: repeat later."""
    if isinstance(error, (sa_exc.TimeoutError, ConnectionError, TimeoutError)):
        return True
    error = driver_error(error)
    return _mysql_code(error) in _MYSQL_AWAY or _sqlite_code(error) in _SQLITE_AWAY


def is_retryable(error: BaseException) -> bool:
    """Whether the same transaction may succeed another time."""
    return is_contention(error) or is_away(error)


def is_damaged(error: BaseException) -> bool:
    """Whether SQLite can make nothing of its file."""
    return _sqlite_code(driver_error(error)) in _SQLITE_DAMAGED


def is_duplicate(error: BaseException) -> bool:
    """Whether a row with this key exists already."""
    error = driver_error(error)
    if isinstance(error, sqlite3.IntegrityError):
        return error.sqlite_errorcode in {
            sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
            sqlite3.SQLITE_CONSTRAINT_UNIQUE,
        }
    return _mysql_code(error) in _MYSQL_DUPLICATE


def describe(error: BaseException) -> str:
    """Say in one line what the driver said, without the statement and its values."""
    error = driver_error(error)
    words = ": ".join(str(part) for part in error.args) or type(error).__name__
    return " ".join(words.split())[:500]
