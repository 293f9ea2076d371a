"""What nobody thought of, in a message or beside it, neither ends a scheduler nor is repeated."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from dag_engine.core import machine
from dag_engine.scheduler import reign
from dag_engine.storage import tasks
from dag_engine.storage.database import Database
from executors.base import ArtifactRef, Outcome, Report, ReportBatch
from tests.support.engine_stand_in import EngineStandIn
from tests.support.live_runs import ended
from tests.support.scheduler_rig import SchedulerRig
from tests.support.waiting import wait_until

StartScheduler = Callable[..., SchedulerRig]
StartEngine = Callable[..., EngineStandIn]


def test_a_model_fitted_on_what_is_no_table_ends_its_own_attempt_alone(
    start_scheduler: StartScheduler, start_engine: StartEngine, database: Database
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a", "b<a", "c", on_failure="continue", work_base="w")
    engine.wait_for(f"{run_id}.0.1")
    model = ArtifactRef(type="model", inline={}, meta={"fitted_on": {"type": 5}})
    bad = msgspec.structs.replace(ended(f"{run_id}.0.1"), outputs=[model])
    assert [v.verdict for v in engine.report(bad)] == ["applied"]
    assert tasks.get_task(database, "default", run_id, "a").reason_code == "invalid_output"
    engine.wait_for(f"{run_id}.2.1")
    assert [v.verdict for v in engine.report(ended(f"{run_id}.2.1"))] == ["applied"]
    rig.wait_state(run_id, "failed")


def test_a_report_that_nobody_thought_of_ends_its_own_attempt_alone(
    start_scheduler: StartScheduler,
    start_engine: StartEngine,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    apply = machine.attempt_ended

    def stumble(run: Any, index: int, outcome: Outcome, out: Any) -> str:
        if outcome.message == "poison":
            raise ZeroDivisionError
        return apply(run, index, outcome, out)

    monkeypatch.setattr(machine, "attempt_ended", stumble)
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a", "b", on_failure="continue")
    engine.wait_for(f"{run_id}.0.1", f"{run_id}.1.1")
    bad = msgspec.structs.replace(ended(f"{run_id}.0.1"), message="poison")
    verdicts = engine.report(bad, ended(f"{run_id}.1.1"))
    assert [v.verdict for v in verdicts] == ["refused", "applied"]
    rig.wait_state(run_id, "failed")
    assert rig.task_states(run_id) == {"a": "failed", "b": "succeeded"}
    assert "ZeroDivisionError" in tasks.get_task(database, "default", run_id, "a").reason


@pytest.mark.parametrize("kind", ["register", "leave"])
def test_an_engine_whose_message_nobody_thought_of_is_told_so(
    start_scheduler: StartScheduler,
    start_engine: StartEngine,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    handle = reign.Reign._handle

    def stumble(self: reign.Reign, item: Any, out: Any) -> None:
        if type(item).__name__ in ("EngineRegisters", "EngineLeaves"):
            raise ZeroDivisionError
        handle(self, item, out)

    monkeypatch.setattr(reign.Reign, "_handle", stumble)
    if kind == "register":
        reply = engine.ask_to_register()
    else:
        reply = rig.client.request("DELETE", "/internal/v1/operator-engines/e1")
    assert (reply.status, b"message_refused" in reply.body) == (500, True)
    run_id = rig.accept("a")
    engine.wait_for(f"{run_id}.0.1")


def test_where_the_scheduler_itself_stumbles_no_report_is_blamed_or_left_waiting(
    start_scheduler: StartScheduler, start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a")
    [item] = engine.wait_for(f"{run_id}.0.1")
    n_rounds = 0

    def stumble(*_: Any) -> None:
        nonlocal n_rounds
        n_rounds += 1
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(reign.Reign, "_fire_timers", stumble)
        batch = ReportBatch(
            engine_id="e1",
            incarnation="first",
            reports=[Report(outcome=ended(f"{run_id}.0.1"), token=item.token)],
        )
        body = msgspec.json.encode(batch)
        for _ in range(2):
            reply = engine.client.request("POST", "/internal/v1/reports", body)
            assert (reply.status, b"not_leading" in reply.body) == (503, True)
        wait_until(lambda: n_rounds >= 4)
        # It rests between its attempts: two rounds each, about once a second.
        assert n_rounds <= 8
    assert [v.verdict for v in engine.report(ended(f"{run_id}.0.1"))] == ["applied"]
    rig.wait_state(run_id, "succeeded")
