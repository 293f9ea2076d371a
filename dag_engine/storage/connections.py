"""Raw driver connections, opened with the settings that the promises need.

All connections are in the driver's autocommit mode: transactions are begun and ended by explicit
statements, so that a plain read costs one round trip.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from pymysql.connections import Connection
from pymysql.constants import CLIENT, FIELD_TYPE
from pymysql.converters import conversions
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from dag_engine.config import DatabaseConfig
from dag_engine.storage.errors import DatabaseSettingsError

# Moments come as text, as from SQLite: that is what a backup holds, and the driver would take long.
_CONVERSIONS = {
    kind: convert
    for kind, convert in conversions.items()
    if kind not in (FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP)
}
_FORMS = "Use sqlite:////path/to/file.db or mysql+pymysql://user:password@host:3306/database."

_IDLE_WRITE_S = 10
"""So long a server keeps the locks of a transaction whose client says nothing more: a host that was
switched off would hold them for hours, and nobody could repeat a post that it had in hand. MySQL
cannot be told, and asks its TCP keepalive.
"""


class Connector(Protocol):
    """Opens connections to one database."""

    dialect: str

    def connect(
        self,
        *,
        timeout_s: float | None = None,
        connect_s: float | None = None,
        is_multi: bool = False,
    ) -> Any:
        """Open a connection; `timeout_s` bounds every answer, and `connect_s` the connecting."""


class SqliteConnector:
    """Opens a SQLite file in WAL mode, synced at every commit."""

    dialect = "sqlite"

    def __init__(self, path: Path, busy_timeout_s: float = 2.0) -> None:
        self.path = path
        self.busy_timeout_s = busy_timeout_s

    def connect(
        self,
        *,
        timeout_s: float | None = None,
        connect_s: float | None = None,
        is_multi: bool = False,
    ) -> Any:
        """Open the file; it is made if it does not exist."""
        timeout_s = self.busy_timeout_s if timeout_s is None else min(timeout_s, 30.0)
        connection = sqlite3.connect(
            self.path, timeout=timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA journal_size_limit=67108864")
        except BaseException:
            connection.close()
            raise
        return connection


@functools.cache
def _encrypt_only() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _MysqlConnection(Connection):
    """Encrypts where the server can, as PyMySQL does, whose way to it takes 20 ms of the processor:
    it reads all certificates of the machine for each connection, and checks nothing by them.
    """

    def _create_ssl_ctx(self, options: Any) -> ssl.SSLContext:
        # Private; a PyMySQL that does not ask for it only takes its time again.
        if not options:
            return _encrypt_only()
        made: ssl.SSLContext = super()._create_ssl_ctx(options)  # type: ignore[misc]  # not in the types
        return made


class MysqlConnector:
    """Opens PyMySQL connections: READ COMMITTED, UTC, utf8mb4, with time limits everywhere."""

    dialect = "mysql"

    def __init__(self, url: URL, config: DatabaseConfig) -> None:
        self.url = url
        self._config = config

    @property
    def database(self) -> str:
        """Name of the database on the server."""
        return self.url.database or ""

    def connect(
        self,
        *,
        timeout_s: float | None = None,
        connect_s: float | None = None,
        is_multi: bool = False,
        has_database: bool = True,
    ) -> Any:
        """Open a connection; `is_multi` allows several statements in one round trip."""
        limit = 3600.0 if timeout_s is None else max(timeout_s, 0.05)
        connect_limit = limit if connect_s is None else connect_s
        config = self._config
        ca = _query_value(self.url, "ssl_ca")
        flags = CLIENT.FOUND_ROWS | (CLIENT.MULTI_STATEMENTS if is_multi else 0)
        connection = _MysqlConnection(
            host=self.url.host or "127.0.0.1",
            port=self.url.port or 3306,
            user=self.url.username or "",
            password=self.url.password or "",
            database=self.database if has_database else None,
            unix_socket=_query_value(self.url, "unix_socket"),
            ssl_ca=ca,
            # PyMySQL encrypts alone where this is not said; MySQL's own client checks then, too.
            ssl_verify_cert=True if ca else None,
            charset="utf8mb4",
            autocommit=None,
            conv=_CONVERSIONS,
            client_flag=flags,
            connect_timeout=min(config.connect_timeout_s, connect_limit),
            read_timeout=min(config.read_timeout_s, limit),
            write_timeout=min(config.read_timeout_s, limit),
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.execute(
                "SET autocommit=1, time_zone='+00:00', lock_wait_timeout=10, "
                "innodb_lock_wait_timeout=%s, wait_timeout=28800, "
                "sql_mode='STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO'"
                "/*M!100300 , idle_write_transaction_timeout=%s */",
                (self._config.lock_wait_timeout_s, _IDLE_WRITE_S),
            )


def _query_value(url: URL, name: str) -> str | None:
    value = url.query.get(name)
    return value if isinstance(value, str) else None


class TimeLimit:
    """How long the database calls of the present thread may take; None means the default."""

    def __init__(self) -> None:
        self._local = threading.local()

    @property
    def seconds(self) -> float | None:
        """The present thread's limit."""
        return getattr(self._local, "seconds", None)

    @contextlib.contextmanager
    def set(self, seconds: float | None) -> Iterator[None]:
        """Limit what happens inside."""
        before = self.seconds
        self._local.seconds = seconds
        try:
            yield
        finally:
            self._local.seconds = before


def make_connector(url: str, config: DatabaseConfig) -> SqliteConnector | MysqlConnector:
    """Understand a database URL, or say what is wrong with it."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseSettingsError("The database URL cannot be read.", _FORMS) from error
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"}:
        return SqliteConnector(_sqlite_path(parsed))
    if parsed.drivername in {"mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql"}:
        return _mysql_connector(parsed, config)
    raise DatabaseSettingsError(f"The database {parsed.drivername!r} is not supported.", _FORMS)


def _sqlite_path(url: URL) -> Path:
    if not url.database or url.database == ":memory:":
        raise DatabaseSettingsError("SQLite needs a file: all processes share it.", _FORMS)
    return Path(url.database).absolute()


def _mysql_connector(url: URL, config: DatabaseConfig) -> MysqlConnector:
    unknown = set(url.query) - {"charset", "unix_socket", "ssl_ca"}
    if unknown:
        raise DatabaseSettingsError(
            f"The database URL has unknown options: {', '.join(sorted(unknown))}.",
            "Known are unix_socket and ssl_ca.",
        )
    if not url.database:
        raise DatabaseSettingsError("The database URL names no database.", _FORMS)
    return MysqlConnector(url, config)
