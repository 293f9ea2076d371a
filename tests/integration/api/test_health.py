import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.api_rig import YAML, ApiRig, write_dag
from tests.support.databases import expire_lease


def figures(rig: ApiRig) -> dict[tuple[str, str], float]:
    text = rig.client.get("/metrics").get_data(as_text=True)
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_components_are_told_with_their_last_sign_of_life(
    rig: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.services, "scheduler_status", lambda: {"leads": True})
    health = rig.client.get("/healthz").get_json()

    found = {component["kind"]: component for component in health["components"]}
    assert health["status"] == "ok"
    assert {kind: one["status"] for kind, one in found.items()} == dict.fromkeys(
        ("api", "disk", "database", "scheduler", "operator_engine"), "ok"
    )
    assert found["operator_engine"]["instance"] == "engine-甲"
    assert found["operator_engine"]["heartbeat_at"].endswith("Z")


def test_missing_scheduler_is_told(rig: ApiRig) -> None:
    expire_lease(rig.database)

    health = rig.client.get("/healthz").get_json()

    found = {component["kind"]: component["status"] for component in health["components"]}
    assert (health["status"], found["scheduler"]) == ("degraded", "away")


def test_ready_means_reachable_and_current(rig: ApiRig) -> None:
    assert rig.client.get("/readyz").get_json() == {"status": "ready"}


def test_database_without_tables_is_not_ready_and_says_what_to_do(
    make_rig: Callable[..., ApiRig],
) -> None:
    rig = make_rig()
    for path in rig.home.glob("dagengine.db*"):
        path.unlink()

    reply = rig.client.get("/readyz")

    assert (reply.status_code, reply.get_json()["code"]) == (503, "schema_outdated")
    assert "dagengine db upgrade" in reply.get_json()["detail"]
    assert rig.client.get("/livez").status_code == 200


def take_database_away(rig: ApiRig) -> ApiRig:
    """Let the api speak to a MariaDB whose port answers nobody."""
    rig.services.close()
    gone = replace(rig.config.database, url="mysql+pymysql://root@127.0.0.1:9/gone")
    rig.services.config = replace(rig.config, database=gone)
    return rig


@pytest.fixture
def rig_without_database(make_rig: Callable[..., ApiRig]) -> ApiRig:
    """An api that never saw its database."""
    return take_database_away(make_rig())


def test_without_a_database_every_call_asks_to_come_again_within_two_seconds(
    rig_without_database: ApiRig,
) -> None:
    client = rig_without_database.client
    calls = [
        lambda: client.get("/api/v1/runs"),
        lambda: client.get("/readyz"),
        lambda: client.post("/api/v1/runs", data=write_dag("a"), content_type=YAML),
        lambda: client.post("/internal/v1/reports", json={}),
    ]
    for call in calls:
        began = time.monotonic()
        reply = call()
        assert time.monotonic() - began < 3.0
        assert (reply.status_code, reply.get_json()["code"]) == (503, "database_unavailable")
        assert int(reply.headers["Retry-After"]) >= 1
        assert "root" not in reply.get_data(as_text=True)
        assert "127.0.0.1" not in reply.get_data(as_text=True), "where it is, is nobody's business"


def test_without_a_database_health_and_pages_are_still_answered(
    rig_without_database: ApiRig,
) -> None:
    client = rig_without_database.client

    health = client.get("/healthz")

    assert (health.status_code, health.get_json()) == (200, {"status": "degraded"})
    assert client.get("/livez").status_code == 200
    with client.get("/") as page:
        assert page.status_code == 200


def test_database_that_is_gone_is_told_to_whom_is_known(rig: ApiRig) -> None:
    assert rig.client.get("/healthz").get_json()["components"]
    take_database_away(rig)

    health = rig.client.get("/healthz")

    found = {one["kind"]: one["status"] for one in health.get_json()["components"]}
    assert (health.status_code, health.get_json()["status"]) == (200, "degraded")
    assert (found["api"], found["database"]) == ("ok", "away")


def test_figures_count_runs_tasks_engines_and_requests(rig: ApiRig) -> None:
    first = rig.start("a", "b<a")
    rig.start("c")
    rig.play(first, "running", a="running")

    found = figures(rig)

    assert found["dagengine_runs", "running"] == 1
    assert found["dagengine_runs", "pending"] == 1
    assert found["dagengine_open_tasks", "pending"] == 2
    assert found["dagengine_open_tasks", "running"] == 1
    assert found["dagengine_operator_engine_up", "engine-甲"] == 1
    assert found["dagengine_database_up", ""] == 1
    assert found["dagengine_http_request_duration_seconds_count", "2xx"] == 2


def test_figures_are_given_without_a_database(rig: ApiRig) -> None:
    assert figures(rig)["dagengine_database_up", ""] == 1
    take_database_away(rig)

    assert figures(rig)["dagengine_database_up", ""] == 0


def test_version_is_that_of_the_program(rig: ApiRig) -> None:
    assert rig.client.get("/version").get_json()["name"] == "dagengine"


def test_catalogue_is_paged_as_every_list_is(rig: ApiRig) -> None:
    everything = rig.client.get("/api/v1/algorithms").get_json()
    found, cursor = [], ""
    for _ in everything["items"]:
        page = rig.client.get(f"/api/v1/algorithms?limit=2{cursor}").get_json()
        found += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(everything["items"]) > 2
    assert (found, everything["next_cursor"]) == (everything["items"], None)
    assert rig.client.get("/api/v1/algorithms?cursor=x").status_code == 400
    for other in ("executors", "operator-engines"):
        assert rig.client.get(f"/api/v1/{other}?limit=1").status_code == 200


def test_algorithms_are_described_for_a_front_end(rig: ApiRig) -> None:
    listed = rig.client.get("/api/v1/algorithms").get_json()["items"]
    one = rig.client.get("/api/v1/algorithms/algo_local_read_file").get_json()
    unknown = rig.client.get("/api/v1/algorithms/algo_local_read_fil")

    assert len(listed) == 7
    assert one["params_schema"]["properties"]["data_id"]["format"] == "dataset-id"
    assert one["outputs"] == [
        {"name": "rows", "type": "table", "is_optional": False, "is_many": False}
    ]
    assert unknown.status_code == 404
    assert unknown.get_json()["hint"] == "Did you mean algo_local_read_file?"


def test_executors_and_engines_are_listed(rig: ApiRig) -> None:
    executors = rig.client.get("/api/v1/executors").get_json()["items"]
    engines = rig.client.get("/api/v1/operator-engines").get_json()["items"]

    assert executors[0]["data_types"] == ["本地python"]
    assert executors[0]["operator_engines"] == [{"id": "engine-甲", "is_alive": True, "slots": 4}]
    assert (engines[0]["id"], engines[0]["labels"]) == ("engine-甲", {"zone": "甲"})


@pytest.mark.parametrize(
    "path", ["/", "/runs/r1", "/docs", "/static/run.js", "/static/vendor/swagger-ui/LICENSE"]
)
def test_pages_are_served_and_fetch_nothing_from_elsewhere(rig: ApiRig, path: str) -> None:
    with rig.client.get(path) as reply:
        text = reply.get_data(as_text=True)

    assert reply.status_code == 200
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    if reply.mimetype == "text/html":
        assert "://" not in text


@pytest.mark.parametrize(
    "path",
    ["/static/../index.html", "/static/%2e%2e/__init__.py", "/static//etc/passwd",
     "/static/vendor/../../pyproject.toml", "/static/vendor/%2e%2e/%2e%2e/README.md",
     "/static/..%2f..%2fpyproject.toml", "/static/nothing.js"],
)  # fmt: skip
def test_page_files_cannot_lead_elsewhere(rig: ApiRig, path: str) -> None:
    assert rig.client.get(path).status_code == 404
