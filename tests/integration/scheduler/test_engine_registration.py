"""What a registration may say, and what becomes of one that an earlier scheduler stored."""

from collections.abc import Callable

import msgspec
import pytest

from dag_engine.storage.database import Database
from executors.base import ExecutorOffer, Registration
from executors.transport.http_client import HttpClient
from tests.support.engine_stand_in import EngineStandIn
from tests.support.live_runs import ended
from tests.support.scheduler_rig import SchedulerRig
from tests.support.waiting import wait_until

StartScheduler = Callable[..., SchedulerRig]
StartEngine = Callable[..., EngineStandIn]

UNCALLABLE = [
    "",
    "10.0.0.2:8090",
    "tcp://10.0.0.2:8090",
    "http://",
    "http://10.0.0.2:http",
    "http://10.0.0.2:80900",
    "http://[10.0.0.2",
    "http://my host:8090",
    "http://主机:8090",
    f"http://{'h' * 64}:8090",
]


@pytest.mark.parametrize("url", UNCALLABLE)
def test_an_engine_that_nobody_can_call_is_refused_with_the_cure(
    start_scheduler: StartScheduler, start_engine: StartEngine, url: str
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    body = msgspec.json.encode(
        Registration(engine_id="e2", incarnation="i", url=url, store_marker="marker")
    )
    reply = rig.client.request("POST", "/internal/v1/operator-engines", body)
    assert reply.status == 422
    assert b"engine.advertise_url" in reply.body
    run_id = rig.accept("a")
    engine.wait_for(f"{run_id}.0.1")
    engine.report(ended(f"{run_id}.0.1"))
    rig.wait_state(run_id, "succeeded")


@pytest.mark.parametrize(
    "stored",
    [
        *(
            msgspec.json.encode(
                Registration(
                    engine_id="e1",
                    incarnation="first",
                    url=url,
                    executors=[ExecutorOffer(name="local", slots=4)],
                )
            )
            for url in ("nowhere", "http://10.0.0.2:80900")
        ),
        b'{"engine_id":"e1"}',
        b"{",
    ],
)
def test_a_stored_engine_that_nobody_can_call_is_away_and_keeps_nobody_from_leading(
    start_scheduler: StartScheduler, start_engine: StartEngine, database: Database, stored: bytes
) -> None:
    first = start_scheduler()
    engine = start_engine(first)
    run_id = first.accept("a")
    engine.wait_for(f"{run_id}.0.1")
    first.close()
    sql = "UPDATE operator_engines SET registration = ?"
    database.run_txn(lambda c: c.exec_driver_sql(sql, (stored.decode(),)))
    second = start_scheduler()
    wait_until(lambda: second.scheduler.reign is not None)
    engine.client.close()
    engine.client = HttpClient(second.url, timeout_s=30)
    engine.register()
    engine.wait_for(f"{run_id}.0.2")
