"""What is said of a server's or a disk's settings before a start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dag_engine.storage import preflight

MOUNTS = """\
overlay / overlay rw 0 0
server:/export /data nfs4 rw 0 0
/dev/sda1 /data/local\\040disk ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "overlay"),
        ("/home/x", "overlay"),
        ("/data/home", "nfs4"),
        ("/data/local disk/home", "ext4"),
        ("/database", "overlay"),
    ],
)
def test_the_kind_of_file_system_is_that_of_the_deepest_mount(folder: str, kind: str) -> None:
    assert preflight.file_system_of(Path(folder), MOUNTS) == kind


@pytest.mark.parametrize(
    ("version", "is_good"),
    [
        ("10.11.6-MariaDB-0+deb12u1", True),
        ("10.6.0-MariaDB", True),
        ("10.5.23-MariaDB", False),
        ("11.8.2-MariaDB", True),
        ("8.0.36", True),
        ("8.0.1", True),
        ("8.0.0-dmr", False),
        ("5.7.44-log", False),
        ("9.4.0", True),
    ],
)
def test_old_servers_are_refused(version: str, is_good: bool) -> None:
    findings = list(preflight.judge_version(version))
    assert [finding.is_fatal for finding in findings] == ([] if is_good else [True])


@pytest.mark.parametrize(
    ("setting", "value", "is_fatal"),
    [
        ("wsrep_on", "ON", True),
        ("innodb_flush_log_at_trx_commit", "2", True),
        ("max_allowed_packet", "1048576", True),
        ("max_connections", "10", False),
    ],
)
def test_settings_that_break_a_promise_are_named(setting: str, value: Any, is_fatal: bool) -> None:
    good = {
        "wsrep_on": "OFF",
        "innodb_flush_log_at_trx_commit": "1",
        "max_allowed_packet": "16777216",
        "max_connections": "151",
        "log_bin": "ON",
        "binlog_format": "MIXED",
    }
    assert list(preflight.judge_settings(good, 20)) == []
    [finding] = preflight.judge_settings({**good, setting: value}, 20)
    assert finding.is_fatal == is_fatal
    assert finding.cure in str(finding)


def test_statement_logging_is_refused_only_where_there_is_a_log() -> None:
    settings = {"binlog_format": "STATEMENT", "log_bin": "OFF"}
    assert list(preflight.judge_settings(settings, 20)) == []
    assert len(list(preflight.judge_settings({**settings, "log_bin": "ON"}, 20))) == 1


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dag_engine.config import DatabaseConfig
    from dag_engine.storage.database import Database
    from dag_engine.storage.errors import DatabaseSettingsError

    database = Database(f"sqlite:///{tmp_path / 'a.db'}", DatabaseConfig())
    assert preflight.check_settings(database) == []
    monkeypatch.setattr(preflight, "file_system_of", lambda folder: "nfs4")
    with pytest.raises(DatabaseSettingsError, match=r"network file system nfs4.*--database-url"):
        preflight.check_settings(database)
    database.close()
