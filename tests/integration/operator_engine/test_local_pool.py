"""A whole operator engine with the local pool, its real executor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from executors.base import Task
from operator_engine.settings import ExecutorEntry
from tests.support.engine_rig import EngineRig, make_task
from tests.support.report_sink import ReportSink
from tests.support.waiting import wait_until

ALGORITHMS = Path(__file__).resolve().parents[2] / "support" / "noop_algorithm.py"


@pytest.fixture
def rig(tmp_path: Path, sink: ReportSink) -> Iterator[EngineRig]:
    local = ExecutorEntry(name="local", options={"preload": []}, slots=4)
    rig = EngineRig(tmp_path, sink, executors=[local])
    rig.start()
    try:
        yield rig
    finally:
        rig.stop()


def make_local_task(rig: EngineRig, number: int, *, function: str = "noop", **params: str) -> Task:
    return make_task(
        number,
        executor="local",
        algorithm=function,
        entry=f"{ALGORITHMS}:{function}",
        params=params,
        folder=f"{rig.settings.store_url}/runs/rrun/{number}/1",
    )


def test_tasks_run_in_the_pool_and_their_logs_lie_in_the_store(
    rig: EngineRig, sink: ReportSink
) -> None:
    tasks = [make_local_task(rig, number, function="pass_on") for number in range(20)]
    sink.dispatch(tasks)
    ends = sink.wait_ends([task.attempt_id for task in tasks], 30)
    assert [end.state for end in ends] == ["succeeded"] * 20
    assert sink.counts["duplicate"] == 0
    for number in range(20):
        log = rig.home / "artifacts" / "logs" / "rrun" / f"{number}.1.log"
        assert "passed on" in log.read_text()
    assert sink.ask("GET", "/tasks/rrun.0.1/log").status == 200


@pytest.mark.parametrize("name", ["engine-main", "engine-execution", "engine-monitor"])
def test_workers_do_not_notice_the_death_of_an_engine_process(
    rig: EngineRig, sink: ReportSink, name: str
) -> None:
    ledger, gate = rig.home / "ledger", rig.home / "gate"
    task = make_local_task(rig, 0, function="wait", until=str(gate), ledger=str(ledger))
    sink.dispatch([task])
    wait_until(ledger.exists, 20, rig.read_logs)

    old_pid = rig.kill(name)
    rig.wait_new_pid(name, old_pid)
    gate.touch()

    assert sink.wait_end(task.attempt_id).state == "succeeded"
    assert ledger.read_text() == "started\n"
    rig.wait_ready(held=0)


def test_death_of_the_pool_is_reported_and_the_next_task_runs(
    rig: EngineRig, sink: ReportSink
) -> None:
    ledger, gate = rig.home / "ledger", rig.home / "gate"
    task = make_local_task(rig, 0, function="wait", until=str(gate), ledger=str(ledger))
    sink.dispatch([task])
    wait_until(ledger.exists, 20, rig.read_logs)

    rig.kill("executor-local")

    end = sink.wait_end(task.attempt_id)
    assert (end.state, end.reason) == ("failed", "lost")
    after = make_local_task(rig, 1)
    sink.dispatch([after])
    assert sink.wait_end(after.attempt_id).state == "succeeded"


def test_running_task_is_cancelled_within_two_seconds(rig: EngineRig, sink: ReportSink) -> None:
    ledger, gate = rig.home / "ledger", rig.home / "gate"
    task = make_local_task(rig, 0, function="wait", until=str(gate), ledger=str(ledger))
    sink.dispatch([task])
    wait_until(ledger.exists, 20, rig.read_logs)
    sink.dispatch([], cancels=[task.attempt_id])
    assert sink.wait_end(task.attempt_id, 2.0).state == "cancelled"


def test_end_that_was_not_reported_survives_a_complete_restart(
    rig: EngineRig, sink: ReportSink
) -> None:
    """The spool is told at once by the new pool's first word, so main's inventory has it."""
    ledger, gate = rig.home / "ledger", rig.home / "gate"
    task = make_local_task(rig, 0, function="wait", until=str(gate), ledger=str(ledger))
    sink.dispatch([task])
    wait_until(ledger.exists, 20, rig.read_logs)
    sink.go_away()
    gate.touch()
    log = rig.home / "logs" / "services" / "engine-monitor.log"
    wait_until(lambda: "reports_not_acknowledged" in log.read_text(), 10, rig.read_logs)
    rig.kill_launcher()
    sink.come_back()

    rig.start()

    assert sink.wait_end(task.attempt_id).state == "succeeded"
    assert ledger.read_text() == "started\n"
    held = {item.attempt_id: item.stage for item in sink.registrations[-1].inventory}
    assert held == {task.attempt_id: "ended"}
