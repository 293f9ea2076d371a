"""Random faults hit a whole system under load: nothing is lost, accepted twice or done for nothing.

The seed stands in the closing line; `DAGENGINE_CHAOS_SEED` repeats the faults of a campaign.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from tests.support.chaos.campaign import CampaignPlan, Outcome, run_campaign
from tests.support.closing_lines import Record, record_closing_lines
from tests.support.length import IS_LONG
from tests.support.mariadb_server import MariaDbServer, run_mariadb

LEASE_S = 5.0


def _make_plan() -> CampaignPlan:
    seed = os.environ.get("DAGENGINE_CHAOS_SEED", secrets.token_hex(4))
    if IS_LONG:
        return CampaignPlan(seed, n_faults=170, limit_s=390.0, least_faults=150, lease_s=LEASE_S)
    return CampaignPlan(seed, n_faults=30, limit_s=40.0, least_faults=15, lease_s=LEASE_S)


@pytest.mark.timeout(1200)
def test_nothing_is_lost_on_sqlite(tmp_path: Path, record_property: Record) -> None:
    _judge(run_campaign(tmp_path / "cluster", "sqlite", None, _make_plan()), record_property)


# The two long campaigns first and last: so no process of pytest gets both while another is idle.
@pytest.mark.mysql
@pytest.mark.long
@pytest.mark.timeout(600)
def test_nothing_is_lost_where_mariadb_refuses_to_change_what_changed_since_it_was_read(
    tmp_path: Path, record_property: Record
) -> None:
    plan = CampaignPlan(
        _make_plan().seed, n_faults=30, limit_s=60.0, least_faults=20, lease_s=LEASE_S
    )
    with run_mariadb(tmp_path / "mariadb", "--loose-innodb-snapshot-isolation=ON") as server:
        if not server.knows("innodb_snapshot_isolation"):
            pytest.skip("this server does not know innodb_snapshot_isolation")
        _run_on_mariadb(tmp_path, server, "mariadb snapshot isolation", plan, record_property)


@pytest.mark.mysql
@pytest.mark.timeout(1200)
def test_nothing_is_lost_on_mariadb(tmp_path: Path, record_property: Record) -> None:
    with run_mariadb(tmp_path / "mariadb") as server:
        _run_on_mariadb(tmp_path, server, "mariadb", _make_plan(), record_property)


def _run_on_mariadb(
    tmp_path: Path,
    server: MariaDbServer,
    name: str,
    plan: CampaignPlan,
    record_property: Record,
) -> None:
    _judge(run_campaign(tmp_path / "cluster", name, server, plan), record_property)


def _judge(outcome: Outcome, record_property: Record) -> None:
    lines = [outcome.closing_line(), *outcome.recovery_lines()]
    record_closing_lines(record_property, "\n".join(lines))
    assert not outcome.verdict.problems(), outcome.describe()
    assert len(outcome.history.acked) >= len(outcome.faults), outcome.describe()
    if IS_LONG:
        assert not outcome.find_late(), outcome.describe()
