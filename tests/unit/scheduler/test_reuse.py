"""What is asked of the library, and what becomes of its answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dag_engine.core import machine
from dag_engine.core.changes import Former
from dag_engine.core.live import Decision, LiveRun
from dag_engine.core.placement import Engine, Placement
from dag_engine.core.work_keys import find_keys
from dag_engine.scheduler import reuse
from dag_engine.scheduler.clock import Clock
from dag_engine.scheduler.library import Answer, FormerFound, Question, shorten_key
from dag_engine.scheduler.reuse import Reuse
from executors.base import ArtifactRef
from tests.support.live_runs import NOON, ended, make_run

OUTPUT = ArtifactRef(type="report", inline={"n": 1})


class Stage:
    """One reign's view of the cache, with a library that answers when it is told to."""

    def __init__(self) -> None:
        self.placement = Placement()
        self.placement.admit(Engine("e1", slots={"local": 8}))
        self.asked: list[Question] = []
        self.found: list[FormerFound] = []
        self.bring: Callable[[FormerFound], None]
        self.reuse = Reuse(self._open, self.found.append, Clock(), self.placement)
        self.runs: dict[str, LiveRun] = {}

    def _open(self, bring: Callable[[FormerFound], None]) -> Stage:
        self.bring = bring
        return self

    def ask(self, questions: list[Question]) -> None:
        self.asked += questions

    def close(self) -> None:
        """Nothing is open."""

    def start(self, run_id: str, base: str = "same", **details: Any) -> LiveRun:
        run = make_run([], run_id=run_id, details={"a": {"work_base": base, **details}})
        self.runs[run_id] = run
        out = Decision(now=NOON)
        machine.start_run(run, out)
        self.conclude(out)
        return run

    def conclude(self, out: Decision) -> None:
        self.reuse.offer(out)
        self.placement.place(out, lambda *_: None)
        self.reuse.send()

    def hear(self, found: FormerFound) -> None:
        out = Decision(now=NOON)
        self.reuse.hear(found, self.runs, out)
        self.conclude(out)

    def answer(self, **changes: Any) -> FormerFound:
        question = self.asked[-1]
        answer = Answer(question.number, question.run_id, question.index, **changes)
        self.bring(FormerFound([answer]))
        return self.found.pop()

    def know(self, *keys: str) -> None:
        self.bring(FormerFound(known=set(map(shorten_key, keys))))
        self.hear(self.found.pop())


FORMER = Former("r0", 0, "a", 1, [OUTPUT])


def test_a_former_result_ends_a_task_without_an_attempt() -> None:
    stage = Stage()
    run = stage.start("r1")
    assert run.tasks[0].state == "pending", "the library is asked first"
    stage.hear(stage.answer(former=FORMER))
    assert (run.state, run.tasks[0].state, run.tasks[0].row.attempt) == ("succeeded",) * 2 + (0,)


def test_nothing_found_is_computed_and_an_answer_that_comes_twice_changes_nothing() -> None:
    stage = Stage()
    run = stage.start("r1")
    nothing = stage.answer()
    stage.hear(nothing)
    assert run.tasks[0].state == "queued"
    stage.hear(nothing)
    stage.hear(stage.answer(former=FORMER))
    assert run.tasks[0].state == "queued"


def test_an_answer_to_another_reign_is_not_heard() -> None:
    former, stage = Stage(), Stage()
    former.start("r1")
    run = stage.start("r1")
    stage.hear(former.answer(former=FORMER))
    former.bring(FormerFound(known=set()))
    stage.hear(former.found.pop())
    assert run.tasks[0].state == "pending"
    stage.start("r2", "other")
    assert stage.asked[-1].run_id == "r2", "it does not take the other's keys for all keys"


def test_new_work_is_not_asked_for_once_the_keys_are_known() -> None:
    stage = Stage()
    stage.start("r1")
    stage.hear(stage.answer())
    stage.know()
    assert stage.start("r2", "new").tasks[0].state == "queued"
    assert [question.run_id for question in stage.asked] == ["r1"]

    run = stage.runs["r2"]
    out = Decision(now=NOON)
    machine.attempt_ended(run, 0, ended("r2.0.1"), out)
    stage.conclude(out)
    keys = find_keys(run, run.tasks[0])
    assert keys is not None
    assert out.batch.entries.keys() == {("default", keys.seeded)}
    assert stage.start("r3", "new").tasks[0].state == "pending", "by now it may be there"


@pytest.mark.parametrize("details", [{"cache": "refresh"}, {"cache": "off"}, {"work_base": ""}])
def test_who_does_not_use_the_cache_is_not_asked_for(details: dict[str, Any]) -> None:
    stage = Stage()
    fields = {"base": "same", **details}
    fields["base"] = fields.pop("work_base", fields["base"])
    assert stage.start("r1", **fields).tasks[0].state == "queued"
    assert stage.asked == []


def test_too_many_keys_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "KNOWN_LIMIT", 0)
    stage = Stage()
    stage.start("r1")
    stage.hear(stage.answer())
    stage.know()
    stage.start("r2", "other")
    assert len(stage.asked) == 2, "the database is asked each time"
