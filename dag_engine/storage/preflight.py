"""Looks over the database before a service starts: what would break a promise is said at once."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy.exc import DBAPIError

from dag_engine.storage import schema
from dag_engine.storage.connections import MysqlConnector
from dag_engine.storage.database import Database
from dag_engine.storage.errors import DatabaseSettingsError, DatabaseUnavailableError
from dag_engine.storage.failures import describe, is_retryable

_NETWORK_FILE_SYSTEMS = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.glusterfs",
    "lustre", "beegfs", "gpfs", "ocfs2", "fuse.sshfs", "fuse.s3fs", "virtiofs",
}  # fmt: skip
_SQLITE_NEEDED = (3, 37, 0)
_MARIADB_NEEDED = (10, 6)
_MYSQL_NEEDED = (8, 0, 1)
_PACKET_NEEDED = 4 * 1024 * 1024


class Finding(NamedTuple):
    """A problem and its cure; one that is not fatal is only warned about."""

    problem: str
    cure: str
    is_fatal: bool = False

    def __str__(self) -> str:
        return f"{self.problem} {self.cure}"


def check_settings(database: Database) -> list[Finding]:
    """Check version and settings; returns the warnings.

    Raises
    ------
    DatabaseSettingsError
        If the service must not start so.
    DatabaseUnavailableError
        If the database cannot be reached.
    """
    findings = list(_sqlite_findings(database) if database.path else _mysql_findings(database))
    for finding in findings:
        if finding.is_fatal:
            raise DatabaseSettingsError(finding.problem, finding.cure)
    return findings


def check_ready(database: Database) -> list[Finding]:
    """Check settings and schema; returns the warnings, raises what forbids a start."""
    findings = check_settings(database)
    schema.require_schema(database)
    return findings


# --- SQLite ---------------------------------------------------------------------------------------


def _sqlite_findings(database: Database) -> Iterator[Finding]:
    assert database.path is not None
    if sqlite3.sqlite_version_info < _SQLITE_NEEDED:
        yield Finding(
            f"Python's SQLite is {sqlite3.sqlite_version}; at least 3.37 is needed.",
            "Use a newer Python, or MySQL/MariaDB.",
            is_fatal=True,
        )
    kind = file_system_of(database.path.parent)
    if kind in _NETWORK_FILE_SYSTEMS:
        yield Finding(
            f"The SQLite file {database.path} lies on the network file system {kind}, where its "
            "locks do not hold.",
            "Put it on a local disk (--home), or use MySQL/MariaDB (--database-url).",
            is_fatal=True,
        )


def file_system_of(folder: Path, mounts: str | None = None) -> str:
    """Name the kind of file system that a folder lies on; empty where it cannot be told."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
    place = folder.resolve()
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[1]))
        if len(point.parts) >= best and place.is_relative_to(point):
            best, kind = len(point.parts), fields[2]
    return kind


# --- MySQL and MariaDB ----------------------------------------------------------------------------


def _read_settings(database: Database) -> dict[str, Any]:
    def read(connection: Any) -> dict[str, Any]:
        rows = connection.exec_driver_sql(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'wsrep_on', "
            "'innodb_flush_log_at_trx_commit', 'binlog_format', 'log_bin', 'max_allowed_packet', "
            "'max_connections', 'sync_binlog', 'innodb_doublewrite')"
        )
        return {name: value for name, value in rows}

    try:
        return database.read(read, work_s=10.0)
    except DBAPIError as error:
        assert isinstance(database.connector, MysqlConnector)
        name = database.connector.database
        if schema.is_missing_database(error):
            raise DatabaseSettingsError(
                f"The server has no database {name!r}.",
                "Run `dagengine db upgrade`, which makes it, or make it by hand.",
            ) from error
        if is_retryable(error):
            raise DatabaseUnavailableError(describe(error)) from error
        raise DatabaseSettingsError(
            f"The server refuses us: {describe(error)}.",
            "Check user, password and rights in the database URL.",
        ) from error


def _mysql_findings(database: Database) -> Iterator[Finding]:
    settings = _read_settings(database)
    yield from judge_version(str(settings.get("version", "")))
    yield from judge_settings(settings, needed_connections=4 * database.config.pool_size)


def judge_version(version: str) -> Iterator[Finding]:
    """Judge the server's version, such as `10.11.6-MariaDB` or `8.0.36`."""
    number = tuple(int(part) for part in re.findall(r"\d+", version.split("-")[0])[:3])
    is_mariadb = "mariadb" in version.lower()
    needed = _MARIADB_NEEDED if is_mariadb else _MYSQL_NEEDED
    if number < needed:
        kind = "MariaDB" if is_mariadb else "MySQL"
        yield Finding(
            f"The server is {kind} {version}; at least {'.'.join(map(str, needed))} is needed.",
            "Upgrade the server.",
            is_fatal=True,
        )


def judge_settings(settings: dict[str, Any], needed_connections: int) -> Iterator[Finding]:
    """Judge the server's settings by what the promises need."""
    if str(settings.get("wsrep_on", "OFF")).upper() in {"ON", "1"}:
        yield Finding(
            "The server is part of a Galera cluster, which may lose acknowledged commits.",
            "Use a single server, or one with a replica.",
            is_fatal=True,
        )
    if str(settings.get("innodb_flush_log_at_trx_commit", "1")) != "1":
        yield Finding(
            "innodb_flush_log_at_trx_commit is not 1: a crash of the server loses accepted runs.",
            "Set it to 1 in the server's configuration.",
            is_fatal=True,
        )
    is_logged = str(settings.get("log_bin", "OFF")).upper() in {"ON", "1"}
    if is_logged and str(settings.get("binlog_format", "ROW")).upper() == "STATEMENT":
        yield Finding(
            "binlog_format is STATEMENT, with which READ COMMITTED cannot write.",
            "Set it to ROW or MIXED in the server's configuration.",
            is_fatal=True,
        )
    if int(settings.get("max_allowed_packet", _PACKET_NEEDED)) < _PACKET_NEEDED:
        yield Finding(
            "max_allowed_packet is below 4 MiB, which large batches exceed.",
            "Set it to 16M in the server's configuration.",
            is_fatal=True,
        )
    if int(settings.get("max_connections", 151)) < needed_connections:
        yield Finding(
            f"max_connections is {settings['max_connections']}; this service may open "
            f"{needed_connections}.",
            "Raise it in the server's configuration, or lower database.pool_size.",
        )
