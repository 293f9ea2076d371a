"""A whole operator engine against a dag engine's stand-in: what it takes, runs and reports."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from executors.transport.http_client import HttpClient
from tests.support.engine_rig import EngineRig, make_task
from tests.support.report_sink import ReportSink
from tests.support.waiting import wait_until


def decode(body: bytes) -> dict[str, object]:
    return dict(msgspec.json.decode(body))


def test_batch_is_run_reported_and_released(rig: EngineRig, sink: ReportSink) -> None:
    tasks = [make_task(number) for number in range(20)]
    reply = sink.dispatch(tasks)
    assert (reply.status, decode(reply.body)) == (200, {"accepted": 20, "known": 0})

    ends = sink.wait_ends([task.attempt_id for task in tasks])

    assert {end.state for end in ends} == {"succeeded"}
    assert sorted(rig.back_end.started()) == sorted(task.attempt_id for task in tasks)
    wait_until(lambda: all(rig.back_end.is_released(task.attempt_id) for task in tasks))
    assert sink.counts["duplicate"] == 0
    # Every report was acknowledged: nothing is left to be held.
    rig.wait_ready(held=0)


def test_registration_says_who_the_engine_is(rig: EngineRig, sink: ReportSink) -> None:
    registration = sink.registrations[0]
    assert registration.engine_id == "rig"
    assert len(registration.incarnation) == 32
    assert [offer.name for offer in registration.executors] == ["file"]
    assert registration.executors[0].slots == registration.slots >= 2
    marker = Path(rig.home / "artifacts" / ".dagengine-store").read_text(encoding="ascii")
    assert registration.store_marker == marker
    assert registration.inventory == []
    wait_until(lambda: len(sink.heartbeats) >= 2)
    assert sink.heartbeats[-1].incarnation == registration.incarnation


def test_registrations_of_one_life_are_numbered(rig: EngineRig, sink: ReportSink) -> None:
    sink.is_forgetful = True
    wait_until(lambda: len(sink.registrations) >= 2, 10)
    sink.is_forgetful = False
    assert [registration.number for registration in sink.registrations[:2]] == [1, 2]


def test_same_batch_twice_is_run_once(rig: EngineRig, sink: ReportSink) -> None:
    task = make_task(params={"hold": True})
    sink.dispatch([task])
    again = sink.dispatch([task])
    assert decode(again.body) == {"accepted": 0, "known": 1}
    wait_until(rig.back_end.started)
    rig.back_end.finish(task.attempt_id)
    sink.wait_end(task.attempt_id)

    # After its end is acknowledged a late copy is still recognised.
    rig.wait_ready(held=0)
    assert decode(sink.dispatch([task]).body) == {"accepted": 0, "known": 1}
    assert rig.back_end.started() == [task.attempt_id]


def test_foreign_incarnation_and_older_epoch_are_refused(rig: EngineRig, sink: ReportSink) -> None:
    foreign = sink.dispatch([make_task()], incarnation="0" * 32)
    assert (foreign.status, decode(foreign.body)["code"]) == (409, "foreign_incarnation")

    assert sink.dispatch([], epoch=7).status == 200
    stale = sink.dispatch([make_task()], epoch=6)
    assert (stale.status, decode(stale.body)["code"]) == (409, "stale_epoch")
    assert rig.back_end.started() == []


def test_cancel_of_a_running_task_ends_it(rig: EngineRig, sink: ReportSink) -> None:
    task = make_task(params={"hold": True})
    sink.dispatch([task])
    wait_until(rig.back_end.started)

    reply = sink.ask("POST", f"/tasks/{task.attempt_id}:cancel")

    assert (reply.status, decode(reply.body)["is_known"]) == (202, True)
    assert sink.wait_end(task.attempt_id, 2.0).state == "cancelled"


def test_cancel_before_the_task_comes_keeps_it_from_running(
    rig: EngineRig, sink: ReportSink
) -> None:
    task = make_task()
    sink.dispatch([], cancels=[task.attempt_id])
    sink.dispatch([task])

    assert sink.wait_end(task.attempt_id, 2.0).state == "cancelled"
    assert rig.back_end.started() == []


def test_cancel_overtakes_tasks_that_wait_for_a_back_end(rig: EngineRig, sink: ReportSink) -> None:
    rig.back_end.take_down()
    tasks = [make_task(number) for number in range(3)]
    sink.dispatch(tasks)
    sink.dispatch([], cancels=[tasks[1].attempt_id])

    assert sink.wait_end(tasks[1].attempt_id, 2.0).state == "cancelled"

    rig.back_end.bring_up()
    sink.wait_ends([tasks[0].attempt_id, tasks[2].attempt_id])
    assert sorted(rig.back_end.started()) == [tasks[0].attempt_id, tasks[2].attempt_id]


def test_task_that_the_executor_refuses_fails_with_its_words(
    rig: EngineRig, sink: ReportSink
) -> None:
    sink.dispatch([make_task(0, params={"refuse": True}), make_task(1, executor="nowhere")])

    refused, nowhere = sink.wait_ends(["rrun.0.1", "rrun.1.1"])

    assert (refused.state, refused.reason) == ("failed", "error")
    assert "ValueError: this task is not for me" in refused.message
    assert "no executor 'nowhere'" in nowhere.message
    assert "file" in nowhere.hint


def test_stage_and_log_of_a_task_can_be_read(rig: EngineRig, sink: ReportSink) -> None:
    task = make_task(params={"hold": True})
    sink.dispatch([task])
    wait_until(
        lambda: decode(sink.ask("GET", f"/tasks/{task.attempt_id}").body)["stage"] == "started"
    )

    log = decode(sink.ask("GET", f"/tasks/{task.attempt_id}/log?offset=4&limit=10").body)
    assert log["text"] == "of rrun.0."
    stranger = HttpClient(sink.registrations[-1].url)
    assert stranger.request("GET", f"/tasks/{task.attempt_id}/log").status == 401
    assert stranger.request("POST", f"/tasks/{task.attempt_id}:cancel").status == 401
    stranger.close()
    assert sink.ask("GET", "/tasks/rother.0.1").status == 404
    assert sink.ask("GET", "/tasks/rother.0.1/log").status == 404
    assert sink.ask("GET", f"/tasks/{task.attempt_id}/log?offset=x").status == 400

    rig.back_end.finish(task.attempt_id)
    sink.wait_end(task.attempt_id)
    wait_until(
        lambda: decode(sink.ask("GET", f"/tasks/{task.attempt_id}").body)["stage"] == "acknowledged"
    )


def test_start_is_reported_before_the_end_of_a_long_task(rig: EngineRig, sink: ReportSink) -> None:
    long, short = make_task(0, params={"hold": True}), make_task(1)
    sink.dispatch([long, short])
    wait_until(lambda: (long.attempt_id, "started") in sink.told_at)
    rig.back_end.finish(long.attempt_id)
    sink.wait_ends([long.attempt_id, short.attempt_id])
    assert (short.attempt_id, "started") not in sink.told_at


def test_bad_requests_are_answered_with_a_sentence(rig: EngineRig, sink: ReportSink) -> None:
    assert sink.ask("POST", "/tasks").status == 400
    assert sink.ask("GET", "/tasks").status == 405
    assert sink.ask("GET", "/nowhere").status == 404
    assert sink.ask("GET", "/livez").status == 200
    assert b"operator_engine_child_up" in sink.ask("GET", "/metrics").body


@pytest.mark.parametrize("status", [422, 503])
def test_refused_registration_is_tried_again(tmp_path: Path, sink: ReportSink, status: int) -> None:
    sink.refusals = [status]
    rig = EngineRig(tmp_path, sink)
    rig.start()
    try:
        main_log = (tmp_path / "logs" / "services" / "engine-main.log").read_text()
        assert f"refused with {status}: The store is another one." in main_log
    finally:
        rig.stop()
