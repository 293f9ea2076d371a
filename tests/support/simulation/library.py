"""The library in virtual time: it may be slow, mute, or find that something is gone."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from dag_engine.core.changes import Former
from dag_engine.scheduler.library import Answer, FormerFound, Question, shorten_key
from executors.base import ArtifactRef

if TYPE_CHECKING:
    from tests.support.simulation.host import SchedulerHost, SchedulerProcess

_decode_ref = msgspec.json.Decoder(ArtifactRef).decode


class SimulatedLibrary:
    """Looks former results up for one reign of one process."""

    def __init__(self, host: SchedulerHost, answer: Callable[[FormerFound], None]) -> None:
        self._host = host
        self._process: SchedulerProcess = host.process
        self._world = host.world
        self._answer = answer
        self._is_closed = False
        if self._chance.random() < 0.7:
            self._later(self._read_known)

    @property
    def _chance(self) -> random.Random:
        return self._world.chance

    def ask(self, questions: list[Question]) -> None:
        """Take questions; some are looked up late, and some never."""
        if self._world.trouble and self._chance.random() < 0.03:
            self._world.note("the library is mute", self._host.name)
            self._world.n_lean_looks += 1
            return
        self._later(self._look_up, questions)

    def close(self) -> None:
        """Answer no more."""
        self._is_closed = True

    def _later(self, work: Callable[..., None], *arguments: object) -> None:
        delay_s = self._chance.choice((0.001, 0.001, 0.02, 0.3, 2.0))
        if self._world.trouble and self._chance.random() < 0.02:
            delay_s = 7.0
            self._world.n_lean_looks += 1
        self._world.timeline.after(delay_s, self._unless_dead, work, arguments)

    def _unless_dead(self, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
        if self._host.is_frozen and not self._process.is_dead:
            left_s = self._host.frozen_until - self._world.timeline.now
            self._world.timeline.after(left_s + 0.001, self._unless_dead, work, arguments)
        elif not self._process.is_dead and not self._is_closed:
            work(*arguments)

    def _read_known(self) -> None:
        """Read all keys now, and tell them a while later."""
        if not self._world.is_database_away:
            known = {shorten_key(key) for _, key in self._world.tables.entries}
            self._later(self._answer, FormerFound(known=known))

    def _look_up(self, questions: list[Question]) -> None:
        answers = [self._judge(question) for question in questions]
        self._later(self._answer, FormerFound(answers))

    def _judge(self, question: Question) -> Answer:
        answer = Answer(question.number, question.run_id, question.index)
        if self._world.is_database_away:
            return answer
        entries = self._world.tables.entries
        names = [(question.namespace, key) for key in question.keys]
        entry = next((entries[name] for name in names if name in entries), None)
        if entry is None:
            return answer
        former = self._load(entry.run_id, entry.idx, entry.attempt, question.n_outputs)
        if self._world.trouble and self._chance.random() < 0.1:
            self._world.note("an artifact is gone", f"{entry.run_id}.{entry.idx}")
            self._world.n_lean_looks += 1
            return replace(answer, gone=former)
        return replace(answer, former=former)

    def _load(self, run_id: str, index: int, attempt: int, n_outputs: int) -> Former:
        tables = self._world.tables
        refs = [tables.artifacts[run_id, index, port].ref for port in range(n_outputs)]
        row = tables.tasks[run_id][index]
        metrics = msgspec.json.decode(row.metrics) if row.metrics else {}
        return Former(run_id, index, row.operator, attempt, list(map(_decode_ref, refs)), metrics)
