"""Connections to a server that can encrypt."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from dag_engine.config import DatabaseConfig
from dag_engine.storage.connections import make_connector
from tests.support.certificates import make_certificate
from tests.support.mariadb_server import MariaDbServer, run_mariadb

pytestmark = [pytest.mark.mysql, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"), "db.example")


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> Iterator[MariaDbServer]:
    path, key = certificate
    folder = tmp_path_factory.mktemp("server")
    with run_mariadb(folder, f"--ssl-cert={path}", f"--ssl-key={key}") as running:
        running.make_database("kept")
        yield running


def find_cipher(url: str) -> str:
    connector = make_connector(url, DatabaseConfig())
    with (
        contextlib.closing(connector.connect(timeout_s=10)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        return str(cursor.fetchone()[1])


def test_it_is_encrypted_without_reading_the_machines_certificates(
    server: MariaDbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(
        ssl.SSLContext, "load_default_certs", lambda *_: read.append("certificates")
    )
    assert find_cipher(server.url("kept"))
    assert not read


def test_it_is_encrypted_where_the_server_shows_the_expected_certificate(
    server: MariaDbServer, certificate: tuple[Path, Path]
) -> None:
    assert find_cipher(f"{server.url('kept')}?ssl_ca={certificate[0]}")


def test_a_server_with_another_certificate_is_refused(
    server: MariaDbServer, tmp_path: Path
) -> None:
    other, _ = make_certificate(tmp_path, "db.example")
    with pytest.raises(pymysql.err.OperationalError, match="certificate verify failed"):
        find_cipher(f"{server.url('kept')}?ssl_ca={other}")
