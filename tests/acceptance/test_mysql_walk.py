"""The same walk on a MariaDB or MySQL server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_walks import DAG_FILE, check_figures, read_figures
from tests.support.credit_data import write_credit_csv
from tests.support.databases import fresh_mysql_url
from tests.support.services import dagengine, run_serve

pytestmark = pytest.mark.mysql


@pytest.fixture
def database_url() -> Iterator[str]:
    with fresh_mysql_url() as url:
        yield url


def test_service_refuses_a_database_without_tables_and_names_the_cure(
    database_url: str, tmp_path: Path
) -> None:
    found = dagengine(
        "serve", "--home", str(tmp_path), "--port", "0", "--database-url", database_url
    )
    assert found.returncode == 1
    assert "dagengine db upgrade" in found.stderr
    assert "Traceback" not in found.stderr


def test_example_runs_on_a_database_server_after_db_upgrade(
    database_url: str, tmp_path: Path
) -> None:
    made = dagengine("db", "upgrade", "--database-url", database_url)
    assert made.returncode == 0, made.stderr
    data = write_credit_csv(tmp_path / "credit.csv", n_rows=20_000)
    with run_serve(tmp_path / "home", "--database-url", database_url) as service:
        added = dagengine("datasets", "add", str(data), "--id", "40", url=service.url)
        assert added.returncode == 0, added.stderr
        ran = dagengine("run", str(DAG_FILE), "--wait", url=service.url)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        check_figures(read_figures(ran.stdout))
        assert not (tmp_path / "home" / "dagengine.db").exists()
