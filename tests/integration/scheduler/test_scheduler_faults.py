"""What the scheduler makes of reports that it cannot store, lost messages, a database held up."""

import datetime as dt
import threading

import msgspec
import pytest

from dag_engine.scheduler import reign, timers
from dag_engine.storage import tasks
from dag_engine.storage.database import Database
from executors.base import Heartbeat, HeartbeatReply, InventoryItem, Outcome, Report, ReportBatch
from executors.transport.http_client import HttpClient
from tests.support.engine_stand_in import EngineStandIn
from tests.support.live_runs import ended
from tests.support.scheduler_rig import StartEngine, StartScheduler
from tests.support.waiting import wait_until

TOO_LARGE = {"log_bytes": 2**63}
TOO_EARLY = {"ended_at": dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=9)))}


@pytest.mark.parametrize("poison", [TOO_LARGE, TOO_EARLY])
def test_a_report_that_cannot_be_stored_ends_its_own_attempt_alone(
    start_scheduler: StartScheduler, start_engine: StartEngine, database: Database, poison: dict
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a", "b", "c<b", on_failure="continue")
    engine.wait_for(f"{run_id}.0.1", f"{run_id}.1.1")
    bad = msgspec.structs.replace(ended(f"{run_id}.0.1"), **poison)
    verdicts = engine.report(bad, ended(f"{run_id}.1.1"))
    assert [v.verdict for v in verdicts] == ["refused", "applied"]
    engine.wait_for(f"{run_id}.2.1")
    engine.report(ended(f"{run_id}.2.1"))
    rig.wait_state(run_id, "failed")
    assert rig.task_states(run_id) == {"a": "failed", "b": "succeeded", "c": "succeeded"}
    task = tasks.get_task(database, "default", run_id, "a")
    assert "could not be stored" in task.reason


def test_reports_repeated_while_the_database_is_held_up_do_not_gather(
    start_scheduler: StartScheduler, start_engine: StartEngine, database: Database
) -> None:
    rig = start_scheduler(lease_s=30.0)
    engine = start_engine(rig)
    run_id = rig.accept("a")
    [item] = engine.wait_for(f"{run_id}.0.1")
    batch = ReportBatch(
        engine_id="e1",
        incarnation="first",
        reports=[Report(outcome=ended(f"{run_id}.0.1"), token=item.token)],
    )
    lock = database.write_lock
    assert lock is not None
    assert lock.acquire(10)
    try:
        engine.client.request("POST", "/internal/v1/reports", msgspec.json.encode(batch))
        clients = [HttpClient(rig.url, timeout_s=30) for _ in range(4)]
        threads = [
            threading.Thread(
                target=client.request,
                args=("POST", "/internal/v1/reports", msgspec.json.encode(batch)),
            )
            for client in clients
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()
        assert len(rig.scheduler.inbox) == 0
    finally:
        lock.release()
    assert engine.report(ended(f"{run_id}.0.1"))[0].verdict in ("applied", "duplicate", "stale")
    rig.wait_state(run_id, "succeeded")


def test_late_reports_are_kept_but_not_those_with_a_guessed_token(
    start_scheduler: StartScheduler, start_engine: StartEngine, database: Database
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a", "b")
    engine.wait_for(f"{run_id}.0.1", f"{run_id}.1.1")
    rig.command(run_id, "cancel", "a")
    rig.wait_task(run_id, "a", "cancelled")
    guessed = Report(outcome=ended(f"{run_id}.1.1"), token="guessed")
    [verdict] = engine.report_with_tokens([guessed])
    assert verdict.verdict == "refused"
    assert [v.verdict for v in engine.report(ended(f"{run_id}.0.1"))] == ["stale"]
    sql = "SELECT attempt_id, verdict FROM stale_reports"

    def kept() -> list[tuple[str, str]]:
        return [tuple(r) for r in database.read(lambda c: c.exec_driver_sql(sql).all())]

    wait_until(lambda: kept() == [(f"{run_id}.0.1", "stale")], 5, lambda: str(kept()))


def test_timers_of_what_has_ended_do_not_gather(
    start_scheduler: StartScheduler, start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "KEPT", 4)
    rig = start_scheduler()
    engine = start_engine(rig, slots=1)
    for _ in range(12):
        run_id = rig.accept("a", timeout_s=86_400.0)
        engine.wait_for(f"{run_id}.0.1")
        engine.report(Outcome(attempt_id=f"{run_id}.0.1", kind="started"))
        engine.report(ended(f"{run_id}.0.1"))
    present = rig.scheduler.reign
    assert present is not None
    assert len(present._timers._heap) <= 5


def _beat(engine: EngineStandIn, **fields: bool) -> HeartbeatReply:
    reply = engine.client.request(
        "POST",
        f"/internal/v1/operator-engines/{engine.engine_id}/heartbeat",
        msgspec.json.encode(Heartbeat(incarnation=engine.incarnation, **fields)),
    )
    assert reply.status == 200, reply.body
    return msgspec.json.decode(reply.body, type=HeartbeatReply)


def test_an_engine_registers_with_each_new_leader_so_that_no_cancel_is_lost(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    first = start_scheduler()
    engine = start_engine(first)
    run_id = first.accept("a", "b")
    engine.wait_for(f"{run_id}.0.1", f"{run_id}.1.1")
    engine.report(Outcome(attempt_id=f"{run_id}.0.1", kind="started"))
    assert _beat(engine).is_known
    # The engine misses the cancel, as it would if the scheduler were killed after its commit.
    engine.incarnation = "deaf"
    first.command(run_id, "cancel", "a")
    first.wait_task(run_id, "a", "cancelled")
    engine.incarnation = "first"
    first.close()
    second = start_scheduler()
    engine.client.close()
    engine.client = HttpClient(second.url, timeout_s=30)
    wait_until(lambda: second.scheduler.reign is not None)
    assert not _beat(engine).is_known
    held = [InventoryItem(attempt_id=f"{run_id}.{i}.1", stage="started") for i in (0, 1)]
    assert engine.register(held).forget == [f"{run_id}.0.1"]
    assert _beat(engine).is_known


def test_an_engine_that_leaves_is_spared_and_its_work_is_given_to_others_at_once(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()  # an engine's lease lasts 60 s
    leaving = start_engine(rig, slots=1)
    first = rig.accept("a", "b")
    leaving.wait_for(f"{first}.0.1", f"{first}.1.1")
    assert _beat(leaving, is_leaving=True).is_known
    second = rig.accept("c")
    rig.wait_task(second, "c", "ready")
    other = start_engine(rig, slots=4, engine_id="e2")
    other.wait_for(f"{second}.0.1")
    back = Outcome(
        attempt_id=f"{first}.0.1", kind="ended", state="failed", reason="lost", is_handed_back=True
    )
    leaving.report(back)
    other.wait_for(f"{first}.0.2")
    _beat(leaving, is_leaving=True, has_left=True)
    other.wait_for(f"{first}.1.2")
    assert not _beat(leaving).is_known
    query = "SELECT MAX(n_losses), MAX(n_failures) FROM tasks"
    assert rig.database.read(lambda c: c.exec_driver_sql(query).one()) == (0, 0)


def test_the_farewell_of_a_former_life_is_no_ones(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    engine.incarnation = "second"
    engine.register()
    engine.incarnation = "first"
    assert not _beat(engine, has_left=True).is_known
    engine.incarnation = "second"
    assert _beat(engine).is_known
    run_id = rig.accept("a")
    engine.wait_for(f"{run_id}.0.1")


def test_a_dispatch_that_the_engine_finds_too_long_is_halved(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig, slots=8)
    engine.largest_batch = 3
    run_id = rig.accept(*(f"t{i}" for i in range(8)))
    engine.wait_for(*(f"{run_id}.{i}.1" for i in range(8)))


def test_a_task_that_the_engine_refuses_for_good_fails_and_says_why(
    start_scheduler: StartScheduler, start_engine: StartEngine, database: Database
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    engine.largest_batch = 0
    run_id = rig.accept("a")
    rig.wait_state(run_id, "failed")
    assert "413" in tasks.get_task(database, "default", run_id, "a").reason


def test_a_successor_counts_all_that_is_out_before_it_hands_anything_out(
    start_scheduler: StartScheduler, start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reign, "LOAD_CHUNK", 1)
    limits = {"narrow": 1}
    rig = start_scheduler(queue_limits=limits)
    waits = rig.accept("a", queue="narrow")
    rig.wait_task(waits, "a", "ready")
    rig.command(waits, "pause")
    rig.wait_state(waits, "paused")
    engine = start_engine(rig)
    is_out = rig.accept("a", queue="narrow")
    engine.wait_for(f"{is_out}.0.1")
    rig.command(waits, "resume")
    rig.wait_state(waits, "running")
    rig.close()
    second = start_scheduler(queue_limits=limits)
    wait_until(lambda: second.scheduler.reign is not None)
    engine.client.close()
    engine.client = HttpClient(second.url, timeout_s=30)
    last = second.accept("a")
    engine.wait_for(f"{last}.0.1")
    assert f"{waits}.0.1" not in engine.items
    engine.report(ended(f"{is_out}.0.1"))
    engine.wait_for(f"{waits}.0.1")
