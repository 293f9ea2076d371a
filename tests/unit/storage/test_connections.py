"""Database URLs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dag_engine.config import Config, DatabaseConfig
from dag_engine.storage.connections import MysqlConnector, SqliteConnector, make_connector
from dag_engine.storage.database import database_url
from dag_engine.storage.errors import DatabaseSettingsError

CONFIG = DatabaseConfig()


def test_a_sqlite_url_names_a_file() -> None:
    connector = make_connector("sqlite:////data/dag engine/a.db", CONFIG)
    assert isinstance(connector, SqliteConnector)
    assert connector.path == Path("/data/dag engine/a.db")


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql"])
def test_a_mysql_url_names_server_and_database(scheme: str) -> None:
    connector = make_connector(f"{scheme}://us%40er:p%2Fw@db:3307/引擎", CONFIG)
    assert isinstance(connector, MysqlConnector)
    assert (connector.url.username, connector.url.password) == ("us@er", "p/w")
    assert (connector.url.host, connector.url.port, connector.database) == ("db", 3307, "引擎")


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("nonsense", "cannot be read"),
        ("postgresql://host/db", "not supported"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("mysql+pymysql://root@host/", "names no database"),
        ("mysql+pymysql://root@host/db?local_infile=1", "unknown options: local_infile"),
    ],
)
def test_another_url_is_refused_with_the_cure(url: str, part: str) -> None:
    with pytest.raises(DatabaseSettingsError, match=part):
        make_connector(url, CONFIG)


def test_the_password_does_not_stand_in_the_refusal() -> None:
    with pytest.raises(DatabaseSettingsError) as refusal:
        make_connector("postgresql://user:secret@host/db", CONFIG)
    assert "secret" not in str(refusal.value)


def test_without_url_the_database_lies_in_the_home_folder(tmp_path: Path) -> None:
    assert database_url(Config(home=tmp_path)) == f"sqlite:///{tmp_path}/dagengine.db"
    config = Config(home=tmp_path, database=DatabaseConfig(url="mysql://h/d"))
    assert database_url(config) == "mysql://h/d"
