"""What an operator engine does when its own processes, its back end or the dag engine go away."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executors.transport.frames import FrameSocket, listen
from operator_engine.settings import write_engine_settings
from tests.support.engine_rig import ROOT, EngineRig, make_task
from tests.support.report_sink import ReportSink
from tests.support.waiting import wait_until


@pytest.mark.parametrize("name", ["engine-main", "engine-execution", "engine-monitor"])
def test_killed_process_loses_nothing_and_runs_nothing_twice(
    rig: EngineRig, sink: ReportSink, name: str
) -> None:
    """Some tasks have ended, some run, some wait for a back end that is down when it happens."""
    early = [make_task(number) for number in range(3)]
    running = [make_task(number, params={"hold": True}) for number in range(3, 6)]
    sink.dispatch([*early, *running])
    sink.wait_ends([task.attempt_id for task in early])
    wait_until(lambda: len(rig.back_end.started()) == 6)
    rig.back_end.take_down()
    late = [make_task(number) for number in range(6, 9)]
    sink.dispatch(late)

    old_pid = rig.kill(name)
    rig.wait_new_pid(name, old_pid)
    rig.back_end.bring_up()
    for task in running:
        rig.back_end.finish(task.attempt_id)

    tasks = [*early, *running, *late]
    # Sooner than silence alone would have them submitted again.
    sink.wait_ends([task.attempt_id for task in tasks], 4.0)
    assert sorted(rig.back_end.started()) == sorted(task.attempt_id for task in tasks)
    wait_until(lambda: all(rig.back_end.is_released(task.attempt_id) for task in tasks))
    rig.wait_ready(held=0)


def test_engine_is_back_within_three_seconds(rig: EngineRig, sink: ReportSink) -> None:
    for number, name in enumerate(("engine-execution", "engine-monitor", "engine-main")):
        rig.kill(name)
        killed_at = time.monotonic()
        if name == "engine-main":
            wait_until(lambda: len(sink.registrations) == 2, 3.0, rig.read_logs)
        task = make_task(number)
        sink.dispatch([task])
        sink.wait_end(task.attempt_id, 3.0)
        assert time.monotonic() - killed_at < 3.0


def test_new_main_takes_over_what_runs_under_a_new_incarnation(
    rig: EngineRig, sink: ReportSink
) -> None:
    wanted, unwanted = (make_task(number, params={"hold": True}) for number in range(2))
    sink.dispatch([wanted, unwanted])
    wait_until(lambda: len(rig.back_end.started()) == 2)
    sink.wanted.discard(unwanted.attempt_id)

    rig.kill("engine-main")
    wait_until(lambda: len(sink.registrations) == 2, 10, rig.read_logs)

    first, second = sink.registrations
    assert second.incarnation != first.incarnation
    assert {item.attempt_id for item in second.inventory} == {
        wanted.attempt_id,
        unwanted.attempt_id,
    }
    # What the dag engine has forgotten is cancelled and released without a report.
    wait_until(lambda: rig.back_end.is_released(unwanted.attempt_id), 10, rig.read_logs)
    rig.back_end.finish(wanted.attempt_id)
    assert sink.wait_end(wanted.attempt_id).state == "succeeded"
    assert unwanted.attempt_id not in {outcome.attempt_id for outcome in sink.told if outcome.state}


@pytest.mark.parametrize(
    "names",
    [
        ("engine-main", "engine-execution"),
        ("engine-main", "engine-monitor"),
        ("engine-main", "engine-execution", "engine-monitor"),
    ],
)
def test_what_runs_is_found_again_when_several_processes_were_killed(
    rig: EngineRig, sink: ReportSink, names: tuple[str, ...]
) -> None:
    ended, running = make_task(0, params={"hold": True}), make_task(1, params={"hold": True})
    sink.dispatch([ended, running])
    wait_until(lambda: len(rig.back_end.started()) == 2)
    wait_until(lambda: (ended.attempt_id, "started") in sink.told_at)
    sink.failures = [503] * 100
    rig.back_end.finish(ended.attempt_id)
    wait_until(lambda: len(sink.failures) < 100)

    for name in names:
        rig.kill(name)
    sink.failures = []
    wait_until(lambda: len(sink.registrations) == 2, 10, rig.read_logs)

    held = {item.attempt_id for item in sink.registrations[1].inventory}
    assert held | set(sink.ends) == {ended.attempt_id, running.attempt_id}
    rig.back_end.finish(running.attempt_id)
    sink.wait_ends([ended.attempt_id, running.attempt_id])
    assert len(rig.back_end.started()) == 2
    assert len(sink.registrations) == 2
    rig.wait_ready(held=0)


def test_cancel_reaches_a_task_although_execution_was_killed(
    rig: EngineRig, sink: ReportSink
) -> None:
    task = make_task(params={"hold": True})
    sink.dispatch([task])
    wait_until(rig.back_end.started)
    rig.kill("engine-execution")
    sink.dispatch([], cancels=[task.attempt_id])
    assert sink.wait_end(task.attempt_id).state == "cancelled"


def test_process_that_hears_nonsense_ends_and_is_started_again(
    tmp_path: Path, sink: ReportSink
) -> None:
    """Were only the thread that heard it to end, the process would look alive and do nothing."""
    settings = EngineRig(tmp_path, sink).settings
    path = tmp_path / "settings.json"
    write_engine_settings(settings, path)
    (tmp_path / "run").mkdir(exist_ok=True)
    listener = listen(settings.socket_path())
    with (tmp_path / "log").open("wb") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "operator_engine.execution", str(path)],
            cwd=ROOT,
            stderr=log_file,
        )
    try:
        link = FrameSocket(listener.accept()[0])
        link.send(b"nonsense")
        assert process.wait(10) == 70
        assert "thread_failed name=main-link" in (tmp_path / "log").read_text()
        link.close()
    finally:
        listener.close()
        process.kill()
        process.wait()


def test_stopped_monitor_catches_up(rig: EngineRig, sink: ReportSink) -> None:
    rig.kill("engine-monitor", signal.SIGSTOP)
    tasks = [make_task(number) for number in range(50)]
    sink.dispatch(tasks)
    wait_until(lambda: len(rig.back_end.started()) == 50)
    assert sink.ends == {}
    rig.kill("engine-monitor", signal.SIGCONT)
    sink.wait_ends([task.attempt_id for task in tasks])


def test_reports_are_repeated_until_the_dag_engine_is_back(
    rig: EngineRig, sink: ReportSink
) -> None:
    tasks = [make_task(number, params={"hold": True}) for number in range(3)]
    sink.dispatch(tasks)
    wait_until(lambda: len(rig.back_end.started()) == 3)
    sink.go_away()
    for task in tasks:
        rig.back_end.finish(task.attempt_id)
    log = rig.home / "logs" / "services" / "engine-monitor.log"
    wait_until(lambda: log.read_text().count("reports_not_acknowledged") >= 3)
    assert not rig.back_end.is_released(tasks[0].attempt_id)

    sink.come_back()

    sink.wait_ends([task.attempt_id for task in tasks])
    wait_until(lambda: rig.back_end.is_released(tasks[0].attempt_id))


def test_reports_answered_with_503_are_repeated(rig: EngineRig, sink: ReportSink) -> None:
    sink.failures = [503, 503, 500]
    task = make_task()
    sink.dispatch([task])
    sink.wait_end(task.attempt_id)
    assert sink.failures == []
    assert sink.counts["applied"] == 1


@pytest.mark.parametrize("verdict", ["stale", "refused"])
def test_every_verdict_is_an_acknowledgement(
    rig: EngineRig, sink: ReportSink, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "_judge", lambda outcome, token: verdict)
    task = make_task()
    sink.dispatch([task])
    wait_until(lambda: rig.back_end.is_released(task.attempt_id))
    assert sink.counts[verdict] == 1


def test_report_goes_to_the_dag_engine_when_the_leader_has_moved(
    tmp_path: Path, sink: ReportSink
) -> None:
    sink.reports_url = "http://127.0.0.1:9"  # discard: nobody listens there
    rig = EngineRig(tmp_path, sink)
    rig.start()
    try:
        sink.reports_url = ""
        task = make_task()
        sink.dispatch([task])
        sink.wait_end(task.attempt_id)
        # The engine asks for the new address by registering again, as the same one.
        wait_until(lambda: len(sink.registrations) == 2)
        assert sink.registrations[0].incarnation == sink.registrations[1].incarnation
    finally:
        rig.stop()


def test_forgotten_engine_registers_again_with_what_it_holds(
    rig: EngineRig, sink: ReportSink
) -> None:
    task = make_task(params={"hold": True})
    sink.dispatch([task])
    wait_until(rig.back_end.started)
    sink.is_forgetful = True

    wait_until(lambda: len(sink.registrations) == 2)

    again = sink.registrations[1]
    assert again.incarnation == sink.registrations[0].incarnation
    assert [item.attempt_id for item in again.inventory] == [task.attempt_id]
    rig.back_end.finish(task.attempt_id)
    sink.wait_end(task.attempt_id)


def test_end_from_before_a_complete_restart_is_reported_afterwards(
    rig: EngineRig, sink: ReportSink
) -> None:
    task = make_task(params={"hold": True})
    sink.dispatch([task])
    wait_until(rig.back_end.started)
    rig.stop()
    rig.back_end.finish(task.attempt_id)

    rig.start()

    assert sink.wait_end(task.attempt_id).state == "succeeded"
    assert rig.back_end.started() == [task.attempt_id]
    assert [item.stage for item in sink.registrations[-1].inventory] == ["ended"]


@pytest.fixture
def remote_rig(tmp_path: Path, sink: ReportSink) -> Iterator[EngineRig]:
    """An engine whose logs are written elsewhere than in the store."""
    rig = EngineRig(tmp_path, sink, logs=str(tmp_path / "own_logs"))
    rig.start()
    yield rig
    rig.stop()


def test_log_is_copied_to_the_store_before_the_release(
    remote_rig: EngineRig, sink: ReportSink
) -> None:
    from_file, from_executor = make_task(0), make_task(1)
    folder = remote_rig.home / "own_logs" / "rrun"
    folder.mkdir(parents=True)
    (folder / "0.1.log").write_bytes("输出 \xff".encode("latin-1", "ignore") + "行".encode())
    sink.dispatch([from_file, from_executor])
    kept = remote_rig.home / "artifacts" / "logs" / "rrun"
    for task in (from_file, from_executor):
        wait_until(
            lambda task=task: remote_rig.back_end.is_released(task.attempt_id),
            message=remote_rig.read_logs,
        )
    assert (kept / "0.1.log").read_bytes() == (folder / "0.1.log").read_bytes()
    assert (kept / "1.1.log").read_text() == "log of rrun.1.1"
