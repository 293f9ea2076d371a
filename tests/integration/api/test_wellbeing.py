"""What /healthz and /metrics tell of each trouble, and what they name as its cure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dag_engine.api import wellbeing
from dag_engine.api.wellbeing import Part, Since
from dag_engine.config import HealthConfig
from dag_engine.core.changes import Batch, EventRow
from dag_engine.scheduler.figures import Figures
from dag_engine.storage import leader as stored_leader
from dag_engine.storage import tokens as stored_tokens
from executors.base import Verdict
from executors.facts import Disk
from tests.support.api_rig import MOMENT, ApiRig
from tests.support.tokens import digest

STATUS: dict[str, Any] = {
    "leads": True,
    "epoch": 1,
    "live_runs": 2,
    "inbox": 3,
    "waiting": {"default": 4},
    "waiting_why": {},
    "engines": [],
    "figures": Figures().show(),
}


def let_the_scheduler_tell(rig: ApiRig, **changes: Any) -> None:
    """Play what the scheduler that leads answers when it is asked for its status."""
    rig.services.scheduler_status = lambda: {**STATUS, **changes}


def engine_status(**facts: Any) -> dict[str, Any]:
    return {
        "id": "engine-甲", "is_alive": True, "is_leaving": False, "silent_s": 0.5, "slots": 4,
        "out": 1, "facts": facts,
    }  # fmt: skip


def find_part(rig: ApiRig, kind: str, instance: str = "") -> dict[str, Any]:
    parts = rig.client.get("/healthz").get_json()["components"]
    return next(
        part for part in parts if part["kind"] == kind and instance in ("", part["instance"])
    )


def figures(rig: ApiRig) -> dict[tuple[str, str], float]:
    text = rig.client.get("/metrics").get_data(as_text=True)
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


FULL = {"spool": {"free_bytes": 1, "total_bytes": 100}}
SLOW = {"n_unacknowledged": 7, "oldest_unacknowledged_s": 61.0}
STUCK = {"figures": STATUS["figures"] | {"committing_s": 9.0}}
WAITING = {"waiting_why": {"no_engine": 3, "slots_busy": 9}}


@pytest.mark.parametrize(
    ("kind", "told", "detail", "hint"),
    [
        ("operator_engine", {"engines": [engine_status() | {"silent_s": 8.0}]}, "silent", "log"),
        ("operator_engine", {"engines": [engine_status() | {"is_leaving": True}]}, "stop", "Wait"),
        ("operator_engine", {"engines": [engine_status(**SLOW)]}, "7 ends wait", "scheduler"),
        ("operator_engine", {"engines": [engine_status(away=["monitor"])]}, "monitor", "logs"),
        ("operator_engine", {"engines": [engine_status(disks=FULL)]}, "disk is full", "prune"),
        ("tasks", WAITING, "3 tasks", "runs why"),
        ("scheduler", STUCK, "under way for 9 s", "database"),
    ],
)
def test_every_trouble_is_degraded_with_its_cure_and_since_when(
    rig: ApiRig, kind: str, told: dict[str, Any], detail: str, hint: str
) -> None:
    let_the_scheduler_tell(rig, **told)
    part = find_part(rig, kind)
    assert part["status"] == "degraded"
    assert detail in part["detail"]
    assert hint in part["hint"]
    assert find_part(rig, kind)["since"] == part["since"]
    let_the_scheduler_tell(rig)
    assert rig.client.get("/healthz").get_json()["status"] == "ok"


@pytest.mark.parametrize(("free", "status"), [(1, "degraded"), (5, "degraded"), (11, "ok")])
def test_disk_with_little_room_is_told(
    rig: ApiRig, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    disk = Disk(free_bytes=free, total_bytes=100)
    monkeypatch.setattr(wellbeing, "measure_disks", lambda folders: dict.fromkeys(folders, disk))
    for folder in ("home", "artifacts", "service_logs", "database"):
        part = find_part(rig, "disk", folder)
        assert part["status"] == status
        assert ("full" in part["detail"]) is (status != "ok")


def test_scheduler_that_leads_but_does_not_answer_is_degraded(rig: ApiRig) -> None:
    assert "does not answer" in find_part(rig, "scheduler")["detail"]


def test_standbys_backups_and_housekeeping_are_told(make_rig: Callable[..., ApiRig]) -> None:
    rig = make_rig(health=HealthConfig(backup_days=1.0))
    rig.register()
    let_the_scheduler_tell(rig)
    assert find_part(rig, "backup")["status"] == "degraded"
    for leads in (True, False):
        stored_leader.beat(rig.database, "scheduler", f"s{leads}", detail={"leads": leads})
    stored_leader.beat(rig.database, "backup", "", detail={})
    stored_leader.beat(rig.database, "housekeeping", "", detail={})
    health = rig.client.get("/healthz").get_json()
    found = {part["kind"]: part["instance"] for part in health["components"]}
    assert health["status"] == "ok"
    assert found["standby"] == "sFalse"
    assert {"backup", "housekeeping"} <= found.keys()
    told = figures(rig)
    assert told["dagengine_schedulers", "leading"] == 1
    assert told["dagengine_schedulers", "standing_by"] == 1
    assert told["dagengine_last_backup_timestamp_seconds", ""] > 1.7e9


def test_old_schema_is_told_with_the_command(rig: ApiRig) -> None:
    sql = "UPDATE alembic_version SET version_num='0001'"
    rig.database.run_txn(lambda c: c.exec_driver_sql(sql))
    part = find_part(rig, "database")
    assert (part["status"], "db upgrade" in part["hint"]) == ("away", True)
    assert figures(rig)["dagengine_schema_current", ""] == 0


def test_figures_of_the_scheduler_and_its_engines(rig: ApiRig) -> None:
    work = Figures()
    batch = Batch(events=[
        EventRow("r", 1, MOMENT, "task", "a", 1, "running", "retrying", "lost"),
        EventRow("r", 2, MOMENT, "task", "b", 1, "running", "failed", "quarantined"),
        EventRow("r", 3, MOMENT, "run", None, 0, "running", "failed"),
    ])  # fmt: skip
    work.commit(lambda _: None, batch)
    work.note_verdicts([Verdict(attempt_id="r.0.1", kind="ended", verdict="stale")])
    work.note_refused("store_mismatch")
    engine = engine_status(
        n_unacknowledged=7,
        disks={"spool": {"free_bytes": 5, "total_bytes": 9}},
        restarts={"engine-main": 2},
    )
    let_the_scheduler_tell(rig, engines=[engine], figures=work.show(), waiting_why={"no_engine": 1})
    told = figures(rig)
    expected = {
        ("dagengine_task_ends_total", "lostretrying"): 1,
        ("dagengine_task_ends_total", "quarantinedfailed"): 1,
        ("dagengine_reports_total", "stale"): 1,
        ("dagengine_refused_calls_total", "store_mismatch"): 1,
        ("dagengine_commit_duration_seconds_count", ""): 1,
        ("dagengine_commit_rows_sum", ""): 3,
        ("dagengine_unacknowledged_ends", "engine-甲"): 7,
        ("dagengine_engine_disk_free_bytes", "engine-甲spool"): 5,
        ("dagengine_engine_process_restarts_total", "engine-甲engine-main"): 2,
        ("dagengine_waiting_tasks", "no_engine"): 1,
        ("dagengine_inbox_length", ""): 3,
        ("dagengine_schema_current", ""): 1,
    }
    assert {key: told.get(key) for key in expected} == expected
    assert told["dagengine_disk_free_bytes", "home"] > 0
    assert len(told) < 300, "the number of series does not grow with the work"


def test_a_commit_under_way_is_told_while_it_lasts_and_clock_jumps_are_counted() -> None:
    clocks = {"now": 100.0, "moment": 5000.0}
    work = Figures(lambda: clocks["now"], lambda: clocks["moment"])

    def write(_: Batch) -> None:
        clocks["now"] += 7
        assert work.show()["committing_s"] == 7

    work.commit(write, Batch())
    assert work.show()["committing_s"] == 0
    clocks["moment"] += 8
    work.note_clock()
    assert work.show()["clock_jumps"] == 0, "the clocks went on together"
    clocks["moment"] -= 3600
    work.note_clock()
    work.note_clock()
    assert (work.show()["clock_jumps"], round(work.show()["last_clock_jump_s"])) == (1, -3600)


def test_names_of_figures_follow_the_conventions(rig: ApiRig) -> None:
    let_the_scheduler_tell(rig, engines=[engine_status(restarts={"api": 1})])
    text = rig.client.get("/metrics").get_data(as_text=True)
    families = list(text_string_to_metric_families(text))
    assert len(families) > 20
    for family in families:
        assert re.fullmatch(r"dagengine_[a-z_]+", family.name)
        assert family.documentation.endswith("."), family.name
        assert not family.name.endswith(("_ms", "_s", "_mb", "_count", "_total"))
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total"), sample.name


def test_calls_asked_to_come_again_and_open_streams_are_counted(rig: ApiRig) -> None:
    rig.services.durations.note(429, 0.001)
    rig.services.durations.note(503, 0.001)
    with rig.services.slots.held():
        told = figures(rig)
    assert told["dagengine_http_come_again_total", "429"] == 1
    assert told["dagengine_http_come_again_total", "503"] == 1
    assert told["dagengine_open_streams", ""] == 1
    assert figures(rig)["dagengine_open_streams", ""] == 0


def test_a_wait_that_finds_no_place_is_counted_too(make_rig: Callable[..., ApiRig]) -> None:
    rig = make_rig(server={"threads": 4})
    rig.register()
    run_id = rig.start("a")
    with rig.services.slots.held(), rig.services.slots.held():
        assert rig.client.get(f"/api/v1/runs/{run_id}?wait_s=5").status_code == 503
    assert figures(rig)["dagengine_http_come_again_total", "503"] == 1


def test_since_survives_a_look_that_could_not_see_everything() -> None:
    clock = {"now": 0.0}
    since = Since(lambda: clock["now"])
    engine = Part("operator_engine", "a", wellbeing.DEGRADED)

    def told(*parts: Part) -> list[Any]:
        return [part["since"] for part in since.show([Part("database"), *parts])]

    first = told(engine)[1]
    told()
    assert told(engine)[1] == first
    clock["now"] += 25 * 3600
    told()
    assert told(engine)[1] > first, "what is gone for good is forgotten after a day"


def test_what_anybody_looks_at_is_remembered(rig: ApiRig) -> None:
    stored_tokens.add_token(rig.database, digest("t"), role="operator", name="ops")
    let_the_scheduler_tell(rig)
    began = dt.datetime.now(dt.UTC)
    assert "components" not in rig.client.get("/healthz").get_json()
    looked = dt.datetime.now(dt.UTC)

    headers = {"Authorization": "Bearer t"}
    parts = rig.client.get("/healthz", headers=headers).get_json()["components"]

    for part in parts:
        assert began <= dt.datetime.fromisoformat(part["since"]) <= looked
