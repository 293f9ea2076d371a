"""Replaying the events of a real database gives its stored states."""

from __future__ import annotations

from collections.abc import Callable

from dag_engine.storage.database import Database
from tests.support.engine_stand_in import EngineStandIn
from tests.support.live_runs import ended
from tests.support.scheduler_rig import SchedulerRig
from tests.support.stored_replay import replay_database


def test_every_run_of_a_database_is_replayed(
    start_scheduler: Callable[..., SchedulerRig],
    start_engine: Callable[..., EngineStandIn],
    database: Database,
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    first = rig.accept("a", "b<a", retries=1, retry_on=["error"], retry_delay_s=0.01)
    waiting = rig.accept("c", labels={"zone": "nowhere"})
    engine.wait_for(f"{first}.0.1")
    engine.report(ended(f"{first}.0.1", "failed", "error"))
    engine.wait_for(f"{first}.0.2")
    engine.report(ended(f"{first}.0.2"))
    engine.wait_for(f"{first}.1.1")
    engine.report(ended(f"{first}.1.1"))
    rig.wait_state(first, "succeeded")
    rig.wait_task(waiting, "c", "ready")
    rig.close()
    replayed = replay_database(database)
    assert replayed.problems == []
    assert (replayed.n_runs, replayed.n_open) == (2, 1)
    spoil = f"UPDATE tasks SET state = 'failed' WHERE run_id = '{first}' AND idx = 1"
    database.run_txn(lambda connection: connection.exec_driver_sql(spoil))
    [problem] = replay_database(database).problems
    assert problem.startswith(f"{first}: b is stored as ('failed', 1)")
