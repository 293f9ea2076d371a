"""When a launcher is killed, all that it started ends with it, and its port is free at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.support.ports import find_free_port
from tests.support.services import run_dag_engine
from tests.support.waiting import wait_until


@pytest.mark.timeout(120)
def test_a_dag_engine_starts_again_at_once_at_its_port_though_a_client_holds_its_connection(
    tmp_path: Path,
) -> None:
    port = ("--port", str(find_free_port()))
    home = tmp_path / "home"
    with requests.Session() as session:
        with run_dag_engine(home, *port) as first:
            assert session.get(f"{first.url}/livez", timeout=30).status_code == 200
            first.process.kill()
            first.process.wait()
            wait_until(lambda: not first.find_processes(), 1.0, lambda: str(first.find_processes()))
        with run_dag_engine(home, *port) as second:
            assert second.get("/livez")
