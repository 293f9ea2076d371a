"""Equal work is done once: who waits for whom, and that nobody waits for ever."""

from __future__ import annotations

from typing import Any

from dag_engine.core import machine
from dag_engine.core.live import Decision, LiveRun, LiveTask, attempt_id_of
from dag_engine.core.placement import Engine, Placement
from dag_engine.core.twins import LARGEST_WAITS
from executors.base import Outcome
from tests.support.live_runs import NOON, ended, make_run


class Stage:
    """Places tasks and plays their ends; what is released is offered again at once."""

    def __init__(self) -> None:
        self.placement = Placement()
        self.placement.admit(Engine("e1", slots={"local": 8}))
        self.runs: dict[str, LiveRun] = {}

    def start(self, run_id: str, **details: Any) -> LiveTask:
        fields = {"work_base": "same", "seed": 1, **details}
        run = self.runs[run_id] = make_run([], run_id=run_id, details={"a": fields})
        out = Decision(now=NOON)
        machine.start_run(run, out)
        self.place(out)
        return run.tasks[0]

    def place(self, out: Decision) -> None:
        for run, task in out.ready:
            self.placement.twins.note_look(task)
            self.placement.add(run, task, out)
        out.ready.clear()
        self.placement.place(out, lambda *_: None)

    def end(
        self, run_id: str, state: str = "succeeded", **changes: Any
    ) -> list[tuple[LiveRun, LiveTask]]:
        """End what runs; returns what is to be looked for again."""
        run = self.runs[run_id]
        attempt_id = attempt_id_of(run_id, 0, run.tasks[0].row.attempt)
        outcome = ended(attempt_id, state, "" if state == "succeeded" else "error")
        fields = {name: getattr(outcome, name) for name in Outcome.__struct_fields__}
        out = Decision(now=NOON)
        machine.attempt_ended(run, 0, Outcome(**{**fields, **changes}), out)
        self.bring_back(out)
        return out.ready

    def bring_back(self, out: Decision) -> None:
        for _, attempt_id in out.closed:
            out.ready += self.placement.count_back(attempt_id)
        self.place(out)


def test_the_second_waits_and_goes_on_when_the_first_has_ended() -> None:
    for end in ("succeeded", "failed", "cancelled"):
        stage = Stage()
        first, second = stage.start("r1"), stage.start("r2")
        assert (first.state, second.state) == ("queued", "ready")
        assert second.row.reason_code == "same_work"
        assert "a of run r1" in second.row.reason

        stage.end("r1", end, has_read_seed=False)

        assert second.state == "queued", end


def test_a_run_that_is_cancelled_releases_who_waits_for_it() -> None:
    stage = Stage()
    stage.start("r1")
    second = stage.start("r2")
    out = Decision(now=NOON)
    machine.cancel_run(stage.runs["r1"], out)
    stage.bring_back(out)
    assert second.state == "queued"


def test_who_was_cancelled_while_it_waited_is_left_alone() -> None:
    stage = Stage()
    stage.start("r1")
    second = stage.start("r2")
    machine.cancel_run(stage.runs["r2"], Decision(now=NOON))
    stage.end("r1")
    assert second.state == "cancelled"


def test_nobody_waits_for_other_work_nor_with_other_wishes() -> None:
    stage = Stage()
    stage.start("r1")
    for number, details in enumerate(
        ({"work_base": "other"}, {"cache": "refresh"}, {"cache": "off"}, {"work_base": ""})
    ):
        assert stage.start(f"s{number}", **details).state == "queued", details


def test_nobody_waits_for_what_is_not_kept() -> None:
    stage = Stage()
    stage.start("r1", cache="off")
    assert stage.start("r2").state == "queued"


def test_what_is_refreshed_is_waited_for() -> None:
    stage = Stage()
    stage.start("r1", cache="refresh")
    assert stage.start("r2").state == "ready"


def test_work_that_hangs_on_its_seed_is_waited_for_with_the_same_seed_only() -> None:
    stage = Stage()
    stage.start("r1", seed=1)
    assert stage.start("r2", seed=2).state == "ready", "nobody knows yet what it hangs on"
    stage.end("r1", has_read_seed=True)
    assert stage.runs["r2"].tasks[0].state == "queued"
    assert stage.start("r3", seed=3).state == "queued"
    assert stage.start("r4", seed=3).state == "ready"


def test_nobody_stands_in_line_behind_failures_for_ever() -> None:
    stage = Stage()
    for number in range(LARGEST_WAITS + 3):
        stage.start(f"r{number}")
    last = stage.runs[f"r{LARGEST_WAITS + 2}"].tasks[0]
    n_ends = 0
    while last.state != "queued":
        running = next(name for name, run in stage.runs.items() if run.tasks[0].state == "queued")
        stage.end(running, "failed")
        n_ends += 1
    assert n_ends == LARGEST_WAITS


def test_what_was_made_while_a_task_waited_for_a_place_is_looked_for_again() -> None:
    stage = Stage()
    stage.start("r1")
    late = make_run([], run_id="r2", details={"a": {"work_base": "same", "seed": 1}})
    out = Decision(now=NOON)
    machine.start_run(late, out)
    stage.placement.add(*out.ready.pop(), out)

    again = stage.end("r1", has_read_seed=False)

    assert [task.plan.operator for _, task in again] == ["a"]
    assert late.tasks[0].state == "pending", "it was not handed out"
    out.ready = again
    stage.place(out)
    assert late.tasks[0].state == "queued", "nothing was found for it"
