"""A dag engine on one host, operator engines on others: each host is a network namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.credit_data import write_credit_csv
from tests.support.services import (
    ROOT,
    RunningService,
    dagengine,
    run_dag_engine,
    run_operator_engine,
)

NETWORK = "10.213.97"
BRIDGE = "dagengine-br"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace with an address of its own."""

    name: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What makes a command run on this host."""
        return ("ip", "netns", "exec", self.name)


def _make_host(number: int) -> Host:
    host = Host(f"dagengine-h{number}", f"{NETWORK}.{number}")
    _ip("netns", "add", host.name)
    outside = f"dagengine-v{number}"
    _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", host.name)
    _ip("link", "set", outside, "master", BRIDGE, "up")
    _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
    _ip("-n", host.name, "link", "set", "eth0", "up")
    _ip("-n", host.name, "link", "set", "lo", "up")
    return host


def _remove_hosts() -> None:
    for number in (2, 3, 4):
        subprocess.run(
            ["ip", "netns", "del", f"dagengine-h{number}"], check=False, capture_output=True
        )
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Three hosts that see each other and this machine, and nothing else."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        missing = "network namespaces need root and the program ip (Debian: iproute2)"
        if "CI" in os.environ:
            pytest.fail(missing)
        pytest.skip(missing)
    _remove_hosts()
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        yield [_make_host(number) for number in (2, 3, 4)]
    finally:
        _remove_hosts()


def _labelled_dag() -> str:
    """Make the example DAG with labels: the two models are fitted on different hosts."""
    text = (ROOT / "tests" / "data" / "credit_default.yaml").read_text(encoding="utf-8")
    for algorithm, zone in (("algo_local_model_2c_l", "b"), ("algo_local_model_gbdt", "c")):
        line = f"   algo_name: {algorithm}\n"
        assert line in text
        text = text.replace(line, f"{line}   run: {{labels: {{zone: {zone}}}}}\n")
    return text


def _engines_by_operator(service: RunningService, run_id: str) -> dict[str, str]:
    items = service.get(f"/api/v1/runs/{run_id}/tasks")["items"]
    return {item["operator"]: item["engine"] for item in items}


@pytest.mark.timeout(180)
def test_labelled_operators_land_on_the_hosts_that_bear_the_labels(
    hosts: list[Host], tmp_path: Path
) -> None:
    here, b, c = hosts
    home = tmp_path / "dag_engine"
    made = dagengine(
        "tokens", "add", "hosts", "--role", "operator", "--home", str(home), "-o", "json"
    )
    assert made.returncode == 0, made.stderr
    token = json.loads(made.stdout)["token"]
    with run_dag_engine(home, "--host", here.address, prefix=here.prefix) as service:
        service.session.headers["Authorization"] = f"Bearer {token}"
        with (
            run_operator_engine(
                tmp_path / "engine_b", service, "--host", b.address, "--token", token,
                "--label", "zone=b", prefix=b.prefix,
            ) as engine_b,
            run_operator_engine(
                tmp_path / "engine_c", service, "--host", c.address, "--token", token,
                "--label", "zone=c", prefix=c.prefix,
            ) as engine_c,
        ):  # fmt: skip
            data = write_credit_csv(tmp_path / "credit.csv")
            with data.open("rb") as file:
                service.post("/api/v1/datasets", files={"file": file}, data={"id": "40"})
            run = service.post(
                "/api/v1/runs",
                data=_labelled_dag().encode(),
                headers={"Content-Type": "application/yaml"},
                status=202,
            )
            assert service.wait_for_run(run["id"])["state"] == "succeeded", service.describe()
            placed = _engines_by_operator(service, run["id"])
            id_b, id_c = (
                (engine.home / "engine_id").read_text().strip() for engine in (engine_b, engine_c)
            )
            assert placed["algo_local_model_2c_l_45_1517362008544"] == id_b
            assert placed["algo_local_model_gbdt_111_1517801573063"] == id_c
            log = service.call(
                "GET",
                f"/api/v1/runs/{run['id']}/tasks/algo_local_model_gbdt_111_1517801573063"
                "/attempts/1/log",
            ).text
            assert "presort" in log


def test_another_address_is_refused_without_tokens(tmp_path: Path) -> None:
    refused = dagengine("dag-engine", "--home", str(tmp_path / "home"), "--host", "0.0.0.0")
    assert refused.returncode != 0
    assert "dagengine tokens add" in refused.stderr
