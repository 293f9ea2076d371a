"""The server that fault tests kill: it keeps what it acknowledged, and leaves nothing behind."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pymysql
import pytest

from tests.support.mariadb_server import run_mariadb


@pytest.mark.mysql
@pytest.mark.timeout(180)
def test_a_killed_server_keeps_what_it_acknowledged_and_a_paused_one_answers_later(
    tmp_path: Path,
) -> None:
    with run_mariadb(tmp_path) as server:
        server.make_database("kept")
        with contextlib.closing(server.connect(database="kept")) as connection:
            connection.query("CREATE TABLE t (n INT PRIMARY KEY) ENGINE=InnoDB")
            connection.query("INSERT INTO t VALUES (1)")
            server.kill()
            with pytest.raises(pymysql.err.MySQLError):
                connection.query("INSERT INTO t VALUES (2)")
        server.start()
        server.pause()
        with pytest.raises(pymysql.err.MySQLError):
            server.connect(read_timeout=1)
        server.resume()
        with (
            contextlib.closing(server.connect(database="kept")) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT n FROM t")
            assert cursor.fetchall() == ((1,),)
        server.stop()
        assert not server.is_running
