"""The scheduler over its real store and its real server, with an engine played by the test."""

import threading

import msgspec
import pytest

from dag_engine.storage import events
from dag_engine.storage.database import Database
from executors.base import InventoryItem, Outcome, RegistrationReply, Report
from executors.transport.http_client import HttpClient
from tests.support.live_runs import ended
from tests.support.scheduler_rig import StartEngine, StartScheduler
from tests.support.waiting import wait_until


def _started(attempt_id: str) -> Outcome:
    return Outcome(attempt_id=attempt_id, kind="started")


def test_a_run_goes_from_its_hint_to_its_end(
    start_scheduler: StartScheduler, start_engine: StartEngine, database: Database
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a", "b<a", "c<a", "d<b,c")
    [item] = engine.wait_for(f"{run_id}.0.1")
    assert item.task.operator == "a"
    assert [v.verdict for v in engine.report(ended(f"{run_id}.0.1"))] == ["applied"]
    b, _ = engine.wait_for(f"{run_id}.1.1", f"{run_id}.2.1")
    assert b.task.inputs[0][0].inline == {"from": f"{run_id}.0.1"}
    engine.report(ended(f"{run_id}.1.1"), ended(f"{run_id}.2.1"))
    engine.wait_for(f"{run_id}.3.1")
    engine.report(ended(f"{run_id}.3.1"))
    run = rig.wait_state(run_id, "succeeded")
    assert run.tasks == {"succeeded": 4}
    history = events.list_events_after(database, "default", run_id, 0)
    assert [event.seq for event in history] == list(range(1, run.last_seq + 1))


def test_work_is_found_though_every_hint_is_lost(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a", hint=False)
    engine.wait_for(f"{run_id}.0.1")


def test_reports_are_fenced_by_token_and_attempt(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a", "b<a")
    engine.wait_for(f"{run_id}.0.1")
    outcome = ended(f"{run_id}.0.1")
    [verdict] = engine.report_with_tokens([Report(outcome=outcome, token="guessed")])
    assert verdict.verdict == "refused"
    assert rig.task_states(run_id)["a"] in ("queued", "running")
    assert [v.verdict for v in engine.report(outcome)] == ["applied"]
    assert [v.verdict for v in engine.report(outcome, outcome)] == ["duplicate", "duplicate"]
    late = ended(f"{run_id}.0.1", "failed", "error")
    assert [v.verdict for v in engine.report(late)] == ["duplicate"]
    assert rig.task_states(run_id)["a"] == "succeeded"


def test_parallel_duplicates_are_applied_once(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a")
    [item] = engine.wait_for(f"{run_id}.0.1")
    body = {
        "engine_id": "e1",
        "incarnation": "first",
        "reports": [{"outcome": ended(f"{run_id}.0.1"), "token": item.token}],
    }
    words: list[str] = []

    def report() -> None:
        client = HttpClient(rig.url)
        reply = client.request("POST", "/internal/v1/reports", msgspec.json.encode(body))
        words.append(msgspec.json.decode(reply.body)["verdicts"][0]["verdict"])
        client.close()

    threads = [threading.Thread(target=report) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(words) == ["applied"] + ["duplicate"] * 7


def test_a_cancel_reaches_the_engine_and_a_late_success_is_stale(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a", "b<a")
    engine.wait_for(f"{run_id}.0.1")
    engine.report(_started(f"{run_id}.0.1"))
    rig.command(run_id, "cancel")
    engine.wait_for_cancel(f"{run_id}.0.1")
    assert rig.run(run_id).state == "cancelling"
    assert [v.verdict for v in engine.report(ended(f"{run_id}.0.1"))] == ["stale"]
    run = rig.wait_state(run_id, "cancelled")
    assert run.tasks == {"cancelled": 2}


def test_pause_and_resume(start_scheduler: StartScheduler, start_engine: StartEngine) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a", "b<a")
    engine.wait_for(f"{run_id}.0.1")
    rig.command(run_id, "pause")
    rig.wait_state(run_id, "pausing")
    engine.report(ended(f"{run_id}.0.1"))
    rig.wait_state(run_id, "paused")
    assert rig.task_states(run_id)["b"] == "ready"
    rig.command(run_id, "resume")
    engine.wait_for(f"{run_id}.1.1")
    engine.report(ended(f"{run_id}.1.1"))
    rig.wait_state(run_id, "succeeded")


def test_a_dead_engines_work_is_handed_to_another(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler(engine_lease_s=1.0)
    first = start_engine(rig)
    run_id = rig.accept("a")
    first.wait_for(f"{run_id}.0.1")
    second = start_engine(rig, "e2")
    beating = threading.Event()

    def beat() -> None:
        client = HttpClient(rig.url)
        while not beating.wait(0.2):
            client.request(
                "POST", "/internal/v1/operator-engines/e2/heartbeat", b'{"incarnation":"first"}'
            )
        client.close()

    thread = threading.Thread(target=beat)
    thread.start()
    second.wait_for(f"{run_id}.0.2")
    assert [v.verdict for v in first.report(ended(f"{run_id}.0.1"))] == ["stale"]
    second.report(ended(f"{run_id}.0.2"))
    rig.wait_state(run_id, "succeeded")
    beating.set()
    thread.join()


def test_what_starts_though_it_was_given_up_is_killed(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a")
    engine.wait_for(f"{run_id}.0.1")
    engine.client.request("DELETE", f"/internal/v1/operator-engines/{engine.engine_id}")
    engine.register()
    engine.wait_for(f"{run_id}.0.2")
    # As where the first dispatch was on its way all the time.
    assert [v.verdict for v in engine.report(_started(f"{run_id}.0.1"))] == ["stale"]
    engine.wait_for_cancel(f"{run_id}.0.1")
    engine.report(ended(f"{run_id}.0.2"))
    rig.wait_state(run_id, "succeeded")


def test_a_restarted_engine_gets_again_what_never_started_and_loses_what_ran(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a", "b", "c")
    ids = [f"{run_id}.{i}.1" for i in range(3)]
    engine.wait_for(*ids)
    engine.report(_started(ids[0]), _started(ids[1]))
    engine.items.clear()
    engine.incarnation = "second"
    reply = engine.register(inventory=[InventoryItem(attempt_id=ids[0], stage="started")])
    assert set(reply.tokens) == {ids[0]}
    assert reply.forget == []
    engine.wait_for(f"{run_id}.1.2", ids[2])
    assert ids[0] not in engine.items


def test_an_engine_is_told_to_forget_what_is_no_longer_wanted(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a")
    engine.wait_for(f"{run_id}.0.1")
    rig.command(run_id, "cancel")
    engine.wait_for_cancel(f"{run_id}.0.1")
    engine.incarnation = "second"
    reply = engine.register(inventory=[InventoryItem(attempt_id=f"{run_id}.0.1", stage="started")])
    assert reply.forget == [f"{run_id}.0.1"]


def test_an_engine_with_another_store_is_refused_with_the_cure(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    engine.marker = "another"
    reply = engine.ask_to_register()
    assert reply.status == 409
    assert b"store.url" in reply.body


def test_the_next_scheduler_goes_on_where_the_last_one_stopped(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    first = start_scheduler()
    engine = start_engine(first)
    run_id = first.accept("a", "b<a", "c<b")
    engine.wait_for(f"{run_id}.0.1")
    engine.report(ended(f"{run_id}.0.1"))
    engine.wait_for(f"{run_id}.1.1")
    first.close()
    second = start_scheduler()
    engine.client.close()
    engine.client = HttpClient(second.url, timeout_s=30)
    engine.items.pop(f"{run_id}.1.1")
    engine.wait_for(f"{run_id}.1.1")
    assert [v.verdict for v in engine.report(ended(f"{run_id}.1.1"))] == ["applied"]
    engine.wait_for(f"{run_id}.2.1")
    engine.report(ended(f"{run_id}.2.1"))
    second.wait_state(run_id, "succeeded")


def test_a_standby_refuses_until_it_leads(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    leader = start_scheduler()
    start_engine(leader)
    standby = start_scheduler()
    client = HttpClient(standby.url)
    body = b'{"engine_id":"e1","incarnation":"first","reports":[]}'
    reply = client.request("POST", "/internal/v1/reports", body)
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    leader.close()
    wait_until(
        lambda: client.request("POST", "/internal/v1/reports", body).status == 200, timeout_s=15
    )
    client.close()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/internal/v1/reports", b"{", 400),
        ("/internal/v1/reports", b'{"engine_id": 5}', 422),
        ("/internal/v1/nothing", b"{}", 404),
    ],
)
def test_bad_messages_are_refused_by_name(
    start_scheduler: StartScheduler, path: str, body: bytes, status: int
) -> None:
    rig = start_scheduler()
    assert rig.client.request("POST", path, body).status == status


def test_hints_and_feed_are_for_our_own_api_only(start_scheduler: StartScheduler) -> None:
    rig = start_scheduler()
    stranger = HttpClient(rig.url)
    assert stranger.request("POST", "/internal/v1/hints", b"{}").status == 401
    assert stranger.request("GET", "/internal/v1/feed").status == 401
    stranger.close()


def test_a_retry_comes_after_its_delay(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a", retries=1, retry_delay_s=0.1, retry_on=["error"])
    engine.wait_for(f"{run_id}.0.1")
    engine.report(ended(f"{run_id}.0.1", "failed", "error"))
    engine.wait_for(f"{run_id}.0.2")
    engine.report(ended(f"{run_id}.0.2"))
    rig.wait_state(run_id, "succeeded")


def test_what_waits_says_why(start_scheduler: StartScheduler, start_engine: StartEngine) -> None:
    rig = start_scheduler()
    run_id = rig.accept("a", labels={"zone": "a"})
    rig.wait_task(run_id, "a", "ready")
    engine = start_engine(rig, slots=1)
    many = rig.accept(*[f"t{i:02}" for i in range(20)])
    engine.wait_for(f"{many}.16.1")
    rig.wait_task(many, "t19", "ready")


def test_a_registration_that_was_overtaken_changes_nothing(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a")
    engine.wait_for(f"{run_id}.0.1")
    engine.report(_started(f"{run_id}.0.1"))
    held = [InventoryItem(attempt_id=f"{run_id}.0.1", stage="started")]
    assert engine.ask_to_register(held, number=2).status == 200
    late = engine.ask_to_register([], number=1)
    assert late.status == 409
    assert b"stale_registration" in late.body
    assert engine.ask_to_register([], number=2).status == 409
    former, engine.incarnation = engine.incarnation, "second"
    assert engine.ask_to_register(held, number=1).status == 200
    engine.incarnation = former
    assert engine.ask_to_register([], number=2).status == 409, "also of a former life"
    engine.incarnation = "second"
    assert [v.verdict for v in engine.report(ended(f"{run_id}.0.1"))] == ["applied"]
    rig.wait_state(run_id, "succeeded")


def test_who_does_not_know_the_leader_registers_twice(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    first = start_scheduler()
    engine = start_engine(first)
    run_id = first.accept("a")
    engine.wait_for(f"{run_id}.0.1")
    engine.report(_started(f"{run_id}.0.1"))
    first.close()
    second = start_scheduler()
    wait_until(lambda: second.scheduler.reign is not None, 20)
    engine.client.close()
    engine.client = HttpClient(second.url, timeout_s=30)
    late = engine.ask_to_register([], number=1, epoch=1)  # on its way since the first one led
    answer = msgspec.json.decode(late.body, type=RegistrationReply)
    assert (answer.is_put_off, answer.epoch) == (True, 2)
    held = [InventoryItem(attempt_id=f"{run_id}.0.1", stage="started")]
    again = engine.ask_to_register(held, number=2, epoch=answer.epoch)
    assert f"{run_id}.0.1" in msgspec.json.decode(again.body, type=RegistrationReply).tokens
    assert [v.verdict for v in engine.report(ended(f"{run_id}.0.1"))] == ["applied"]
    second.wait_state(run_id, "succeeded")
