import datetime as dt

import msgspec
import pytest

from dag_engine.core import machine
from dag_engine.core import placement as placement_module
from dag_engine.core.live import Decision, LiveRun, attempt_id_of
from dag_engine.core.paces import PLACE
from dag_engine.core.placement import Engine, Placement
from tests.support.live_runs import NOON, ended, make_run, states_of


def _place(placement: Placement, *runs: LiveRun) -> list[tuple[str, str]]:
    """Start runs and return (operator, engine) in the order in which they were handed out."""
    out = Decision(now=NOON)
    for run in runs:
        machine.start_run(run, out)
    return _round(placement, out)


def _round(placement: Placement, out: Decision) -> list[tuple[str, str]]:
    sent: list[tuple[str, str]] = []
    for run, task in out.ready:
        placement.add(run, task, out)
    placement.place(
        out, lambda _, task, engine: sent.append((task.plan.operator, engine.engine_id))
    )
    return sent


def _end(
    placement: Placement,
    run: LiveRun,
    index: int,
    out: Decision,
    *,
    took_s: float | None = None,
    state: str = "succeeded",
) -> None:
    attempt_id = attempt_id_of(run.run_id, index, run.tasks[index].row.attempt)
    outcome = ended(attempt_id, state, "" if state == "succeeded" else "error")
    if took_s is not None:
        ended_at = NOON + dt.timedelta(seconds=took_s)
        outcome = msgspec.structs.replace(outcome, started_at=NOON, ended_at=ended_at)
    machine.attempt_ended(run, index, outcome, out)
    for _, closed in out.closed:
        placement.count_back(closed)


def _engines(placement: Placement, *engines: Engine) -> None:
    for engine in engines:
        placement.admit(engine)


def _wide(n: int, **details) -> LiveRun:
    return make_run([], details={f"t{i:02}": dict(details) for i in range(n)})


def test_an_engine_gets_its_slots_and_sixteen_more() -> None:
    placement = Placement()
    _engines(placement, Engine("e1", slots={"local": 4}))
    run = _wide(30)
    assert len(_place(placement, run)) == 20
    out = Decision(now=NOON)
    _end(placement, run, 3, out)
    assert _round(placement, out) == [("t20", "e1")]


def test_a_large_engine_gets_twice_its_slots() -> None:
    placement = Placement()
    _engines(placement, Engine("e1", slots={"local": 20}))
    assert len(_place(placement, _wide(60))) == 40


def test_what_is_known_to_be_brief_takes_an_eighth_of_a_place() -> None:
    placement = Placement()
    _engines(placement, Engine("e1", slots={"local": 4}))
    run = _wide(200)
    assert len(_place(placement, run)) == 20
    out = Decision(now=NOON)
    _end(placement, run, 0, out, took_s=0.0002)
    # One place is free, which eight brief ones share; the others were handed out as unknown.
    assert len(_round(placement, out)) == 8
    for index in range(1, 20):
        _end(placement, run, index, out, took_s=0.0002)
    assert len(_round(placement, out)) == 8 * 20 - 8


def test_after_one_long_attempt_no_more_are_handed_out_than_usual() -> None:
    placement = Placement()
    _engines(placement, Engine("e1", slots={"local": 4}))
    run = _wide(200)
    _place(placement, run)
    out = Decision(now=NOON)
    for index in range(19):
        _end(placement, run, index, out, took_s=0.0002)
    _end(placement, run, 19, out, took_s=60)
    assert len(_round(placement, out)) == 20


def test_an_attempt_gives_back_what_it_took_however_long_others_took_since() -> None:
    placement = Placement()
    engine = Engine("e1", slots={"local": 4})
    _engines(placement, engine)
    run = _wide(24)
    assert len(_place(placement, run)) == 20
    out = Decision(now=NOON)
    for index in range(20):
        _end(placement, run, index, out, took_s=0.0001)
    assert len(_round(placement, out)) == 4
    assert engine.taken == {"local": 4}
    for index in range(20, 24):
        _end(placement, run, index, out, took_s=60)
    assert engine.taken == {"local": 0}


def test_what_failed_soon_is_not_known_to_be_brief() -> None:
    placement = Placement()
    _engines(placement, Engine("e1", slots={"local": 4}))
    run = _wide(60, on_failure="continue")
    _place(placement, run)
    out = Decision(now=NOON)
    for index in range(20):
        _end(placement, run, index, out, took_s=0.0001, state="failed")
    assert len(_round(placement, out)) == 20


def test_work_is_spread_by_load() -> None:
    placement = Placement()
    _engines(placement, Engine("e1", slots={"local": 2}), Engine("e2", slots={"local": 4}))
    sent = [engine for _, engine in _place(placement, _wide(6))]
    assert sent.count("e1") == 2
    assert sent.count("e2") == 4


def test_higher_priority_goes_first_across_queues() -> None:
    placement = Placement()
    details = {
        "low": {"priority": -5},
        "high": {"priority": 7, "queue": "slow"},
        "middle": {"queue": "fast"},
    }
    _engines(placement, Engine("e1", slots={"local": 4}))
    sent = _place(placement, make_run([], details=details))
    assert [operator for operator, _ in sent] == ["high", "middle", "low"]


def test_a_queue_hands_out_no_more_than_its_limit_and_says_so() -> None:
    placement = Placement(limits={"slow": 2})
    _engines(placement, Engine("e1", slots={"local": 4}))
    run = _wide(3, queue="slow")
    assert len(_place(placement, run)) == 2
    assert placement.has_unexplained
    out = Decision(now=NOON)
    placement.explain(out)
    assert states_of(run)["t02"] == "ready"
    assert run.tasks[2].row.reason_code == "queue_full"
    assert "'slow'" in run.tasks[2].row.reason
    assert not placement.has_unexplained
    out = Decision(now=NOON)
    _end(placement, run, 0, out)
    assert _round(placement, out) == [("t02", "e1")]


def test_labels_choose_the_engine() -> None:
    placement = Placement()
    _engines(
        placement,
        Engine("e1", labels={"zone": "a"}, slots={"local": 4}),
        Engine("e2", labels={"zone": "b", "disk": "ssd"}, slots={"local": 4}),
    )
    details = {
        "a": {"labels": {"zone": "a"}},
        "b": {"labels": {"zone": "b"}},
        "c": {"labels": {"zone": "c"}},
    }
    run = make_run([], details=details)
    assert _place(placement, run) == [("a", "e1"), ("b", "e2")]
    placement.explain(Decision(now=NOON))
    assert run.tasks[2].row.reason_code == "no_engine"
    assert "zone=c" in run.tasks[2].row.reason


def test_the_reason_changes_when_the_engine_goes_away() -> None:
    placement = Placement()
    engine = Engine("e1", slots={"local": 1})
    _engines(placement, engine)
    run = _wide(18)
    assert len(_place(placement, run)) == 17
    placement.explain(Decision(now=NOON))
    assert run.tasks[17].row.reason_code == "slots_busy"
    engine.is_alive = False
    placement.explain(Decision(now=NOON))
    assert run.tasks[17].row.reason_code == "engine_away"


def test_a_paused_run_is_not_handed_out_and_its_task_says_why() -> None:
    placement = Placement(limits={"default": 0})
    _engines(placement, Engine("e1", slots={"local": 1}))
    run = _wide(1)
    assert _place(placement, run) == []
    placement.limits = {}
    machine.pause_run(run, Decision(now=NOON))
    out = Decision(now=NOON + dt.timedelta(seconds=1))
    assert _round(placement, out) == []
    assert run.tasks[0].row.reason_code == "run_paused"
    out = Decision(now=NOON + dt.timedelta(seconds=2))
    machine.resume_run(run, out)
    assert _round(placement, out) == [("t00", "e1")]


def test_a_cancelled_task_is_not_handed_out() -> None:
    placement = Placement()
    run = _wide(2)
    assert _place(placement, run) == []
    machine.cancel_task(run, "t00", Decision(now=NOON))
    _engines(placement, Engine("e1", slots={"local": 1}))
    assert _round(placement, Decision(now=NOON)) == [("t01", "e1")]


def test_nothing_is_kept_of_what_was_handed_out() -> None:
    placement = Placement()
    _engines(placement, Engine("e1", slots={"local": 4}))
    run = _wide(8)
    _place(placement, run)
    out = Decision(now=NOON)
    for index in range(8):
        _end(placement, run, index, out)
    assert placement.waiting() == {"default": 0}
    assert not placement._out
    assert not placement._offered
    assert placement.engines["e1"].taken == {"local": 0}
    assert all(not bucket.unexplained for bucket in placement._buckets.values())


def test_an_engine_that_is_being_stopped_is_handed_nothing_more() -> None:
    placement = Placement()
    leaving, other = Engine("a", slots={"local": 4}), Engine("b", slots={"local": 4})
    _engines(placement, leaving, other)
    leaving.is_leaving = True
    assert {engine for _, engine in _place(placement, _wide(3))} == {"b"}
    other.is_leaving = True
    run = make_run([], run_id="r2", details={"x": {}})
    assert _place(placement, run) == []
    out = Decision(now=NOON)
    placement.explain(out)
    assert run.tasks[0].row.reason_code == "engine_away"
    assert "is being stopped" in run.tasks[0].row.reason
    leaving.is_leaving = False
    assert _round(placement, Decision(now=NOON)) == [("x", "a")]


def test_each_of_many_that_wait_is_told_why_at_first_and_the_first_ones_what_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(placement_module, "REASONS_REWRITTEN", 2)
    placement = Placement()
    run = _wide(6)
    assert _place(placement, run) == []
    placement.explain(Decision(now=NOON))
    assert [task.row.reason_code for task in run.tasks] == ["no_engine"] * 6
    _engines(placement, Engine("e1", slots={"local": 0}, taken={"local": 16 * PLACE}))
    later = make_run([], "r2", details={"t": {}})
    assert _place(placement, later) == []
    out = Decision(now=NOON)
    placement.explain(out)
    codes = [task.row.reason_code for task in (*run.tasks, *later.tasks)]
    assert codes == ["slots_busy"] * 2 + ["no_engine"] * 4 + ["slots_busy"]
    assert len(out.batch.tasks) == 3
