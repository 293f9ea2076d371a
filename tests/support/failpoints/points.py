"""The points of each process: its commits, and where it makes durable or hands over what it has."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from tests.support.failpoints.inside import Change, Switchboard, wrap

BEFORE_TRANSACTION = "scheduler-before-transaction"
"""Role of a scheduler that has something to write and has not begun."""
IN_TRANSACTION = "scheduler-in-transaction"
"""Role of a scheduler that has written everything and committed nothing."""
_COMMITTERS = ("api", "scheduler")
Applies = Callable[..., bool]


def points_of(role: str) -> Iterator[tuple[str, Change]]:
    """Give the changes that put the points of a role into its processes, by module."""
    if role in _COMMITTERS:
        yield "dag_engine.storage.database", _change_database
        yield "dag_engine.storage.sessions", _change_sqlite_session
        yield "dag_engine.storage.mysql_session", _change_mysql_session
        yield "dag_engine.storage.connections", _change_connector
    for module, class_name, method, applies in _HANDOVERS.get(role, ()):
        yield module, _hand_over(class_name, method, applies)
    if role == "executor-local":
        # Workers are forked from the supervisor, so that what is changed here is changed there.
        for module, class_name, method, applies in _HANDOVERS["worker"]:
            yield module, _hand_over(class_name, method, applies, role="worker")


def _has_lines(journal: Any) -> bool:
    return bool(journal._pending)


def _has_files(folder: Any) -> bool:
    return folder._path is not None


def _is_end(_worker: Any, word: Any) -> bool:
    return bool(word.kind == "end")


_HANDOVERS: dict[str, tuple[tuple[str, str, str, Applies | None], ...]] = {
    "engine-main": (
        ("operator_engine.desk", "Desk", "dispatch", None),
        ("operator_engine.desk", "Desk", "hear_execution", None),
        ("operator_engine.desk", "Desk", "hear_monitor", None),
        ("operator_engine.desk", "Desk", "settle", None),
    ),
    "engine-execution": (
        ("operator_engine.lane", "Lane", "put", None),
        ("operator_engine.lane", "Lane", "cancel", None),
        ("executors.local.client", "LocalExecutor", "submit_some", None),
        ("executors.local.client", "LocalExecutor", "cancel", None),
        ("operator_engine.link", "MainLink", "send", None),
    ),
    "engine-monitor": (
        ("operator_engine.reporter", "Reporter", "hear_executor", None),
        ("operator_engine.reporter", "Reporter", "_send_ahead", None),
        ("operator_engine.reporter", "Reporter", "_judge", None),
        ("operator_engine.reporter", "Reporter", "_settle", None),
        ("operator_engine.releasing", "Releaser", "_release", None),
    ),
    "executor-local": (
        ("executors.local.journal", "Journal", "flush", _has_lines),
        ("executors.local.desk", "Desk", "tell", None),
    ),
    "worker": (
        ("executors.runtime.staging", "StagedFolder", "commit", _has_files),
        ("executors.local.worker", "Worker", "_send", _is_end),
    ),
}


def _hand_over(class_name: str, method: str, applies: Applies | None, role: str = "") -> Change:
    name = f"{class_name}.{method}"

    def change(module: ModuleType, board: Switchboard) -> None:
        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(original)
            def pass_point(*arguments: Any, **options: Any) -> Any:
                if applies is not None and not applies(*arguments, **options):
                    return original(*arguments, **options)
                number = board.enter(name, role)
                result = original(*arguments, **options)
                board.leave(number, name, role)
                return result

            return pass_point

        wrap(getattr(module, class_name), method, make)

    return change


# --- commits --------------------------------------------------------------------------------------


def _change_database(module: ModuleType, board: Switchboard) -> None:
    """Every write transaction of the pool: it is killed with all said and nothing committed, or
    once it is committed and nobody knows.
    """

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def write(self: Any, work: Callable[[Any], Any], limits: Any) -> Any:
            numbers: list[int] = []

            def work_and_pass(connection: Any) -> Any:
                result = work(connection)
                numbers.append(board.enter("transaction"))
                return result

            result = original(self, work_and_pass, limits)
            board.leave(numbers[0], "transaction")
            if board.draws("ambiguous"):
                board.note("transaction")
                raise _broken_off(self.dialect)
            return result

        return write

    wrap(module.Database, "_write_unlocked", make)


def _change_sqlite_session(module: ModuleType, board: Switchboard) -> None:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def write(self: Any, connection: Any, fence: Any, steps: Iterable[Any]) -> None:
            numbers: list[int] = []

            def give_and_pass() -> Iterator[Any]:
                yield from steps
                board.enter("batch", IN_TRANSACTION)
                numbers.append(board.enter("batch"))

            original(self, connection, fence, give_and_pass())
            board.leave(numbers[0], "batch")
            if board.draws("ambiguous"):
                board.note("batch")
                raise _broken_off("sqlite")

        return write

    wrap(module.SqliteSession, "_write_locked", make)
    wrap(module.SqliteSession, "write", _pass_beforehand(board))
    wrap(module.SqliteSession, "execute", _pass_execute(board, "sqlite"))


def _change_mysql_session(module: ModuleType, board: Switchboard) -> None:
    """A batch is one message: the process is killed before it is sent or after it was answered."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def write(self: Any, *arguments: Any) -> None:
            number = board.enter("batch")
            original(self, *arguments)
            board.leave(number, "batch")
            if board.draws("ambiguous"):
                board.note("batch")
                raise _broken_off("mysql")

        return write

    def make_transaction(original: Callable[..., Any]) -> Callable[..., Any]:
        def transaction(self: Any, fence: Any, steps: Any) -> Iterator[str]:
            statements = list(original(self, fence, steps))
            if board.draws("error"):
                # The server itself refuses one of the statements in the middle of the message.
                code = board.choose_code()
                board.note(str(code))
                place = 1 + board.choose_place(len(statements) - 1)
                statements[place:place] = list(_refusal(code))
            yield from statements

        return transaction

    wrap(module, "gather", _stop_in_gather(board))
    wrap(module.MysqlSession, "write", make)
    wrap(module.MysqlSession, "write", _pass_beforehand(board))
    wrap(module.MysqlSession, "_transaction", make_transaction)
    wrap(module.MysqlSession, "execute", _pass_execute(board, "mysql"))


def _stop_in_gather(board: Switchboard) -> Callable[..., Any]:
    """A message for each statement, so that the process can stop within the transaction."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def gather(statements: Iterable[str]) -> Iterator[str]:
            if board.plan(IN_TRANSACTION).action != "stop":
                yield from original(statements)
                return
            for statement in statements:
                if statement == "COMMIT":
                    board.enter("batch", IN_TRANSACTION)
                yield statement

        return gather

    return make


def _pass_beforehand(board: Switchboard) -> Callable[..., Any]:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def write(self: Any, *arguments: Any) -> None:
            board.enter("batch", BEFORE_TRANSACTION)
            original(self, *arguments)

        return write

    return make


def _pass_execute(board: Switchboard, dialect: str) -> Callable[..., Any]:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def execute(self: Any, sql: str, values: Any = ()) -> int:
            number = board.enter("lease")
            result: int = original(self, sql, values)
            board.leave(number, "lease")
            if board.draws("ambiguous"):
                board.note("lease")
                raise _broken_off(dialect)
            return result

        return execute

    return make


def _broken_off(dialect: str) -> Exception:
    """The error of a driver whose connection broke after the server had done its work."""
    if dialect == "mysql":
        import pymysql

        return pymysql.err.OperationalError(2013, "Lost connection to server during query")
    import sqlite3

    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


def _refusal(code: int) -> Iterator[str]:
    """What makes a server answer with the error; all but a lock timeout end the transaction."""
    if code != _LOCK_WAIT_TIMEOUT:
        yield "ROLLBACK"
    yield f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO={code}, MESSAGE_TEXT='a failpoint'"


_LOCK_WAIT_TIMEOUT = 1205


def _change_connector(module: ModuleType, board: Switchboard) -> None:
    """Statements of the pool's connections are refused, as by a server with lock trouble."""
    import sqlite3

    import pymysql

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def execute(self: Any, query: Any, values: Any = None) -> Any:
            if board.draws("error"):
                code = board.choose_code()
                board.note(str(code))
                for statement in _refusal(code):
                    original(self, statement)
            return original(self, query, values)

        return execute

    def refuse_now_and_then(sql: str) -> None:
        if sql.startswith("BEGIN IMMEDIATE") and board.draws("error"):
            board.note("busy")
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error

    class RefusingCursor(sqlite3.Cursor):
        """Says now and then, instead of beginning to write, that others do."""

        def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
            refuse_now_and_then(sql)
            return super().execute(sql, values)

    class RefusingConnection(sqlite3.Connection):
        """Opens such cursors; its own `execute` uses none that Python knows of."""

        def cursor(self, factory: Any = RefusingCursor) -> Any:
            return super().cursor(factory)

        def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
            refuse_now_and_then(sql)
            return super().execute(sql, values)

    wrap(pymysql.cursors.Cursor, "execute", make)
    connect = sqlite3.connect
    sqlite3.connect = functools.partial(connect, factory=RefusingConnection)
