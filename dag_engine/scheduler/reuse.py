"""Which tasks are looked up before they are computed, and what becomes of the answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dag_engine.core import machine
from dag_engine.core.changes import Batch
from dag_engine.core.live import Decision, LiveRun, LiveTask
from dag_engine.core.placement import Placement
from dag_engine.core.states import WAITING_TASK_STATES
from dag_engine.core.work_keys import find_keys
from dag_engine.scheduler.clock import Clock
from dag_engine.scheduler.library import (
    KNOWN_LIMIT,
    FormerFound,
    Library,
    OpenLibrary,
    Question,
    shorten_key,
)

PATIENCE_S = 5.0
"""A task waits so long at most for the library; then it is computed."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class _Asked:
    number: int
    task: LiveTask
    attempt: int
    deadline: float


class Reuse:
    """Stands between what may start and the places: what was made before needs none.

    Questions are put after the commit, since it may have made what they look for. A library that is
    silent for long is asked nothing more until it speaks. Keys under which surely nothing stands
    are not asked for: the scheduler that leads makes all entries, so it can know them.

    Parameters
    ----------
    open_library : callable, optional
        Opens the library at the first question; None: nothing is looked up.
    answer : callable
        Takes what the library finds, from any thread, and brings it to `hear`.
    clock : Clock
        Tells how long an answer is waited for.
    placement : Placement
        Gets what has to be computed.
    """

    def __init__(
        self,
        open_library: OpenLibrary | None,
        answer: Callable[[FormerFound], None],
        clock: Clock,
        placement: Placement,
    ) -> None:
        self._open_library = open_library
        self._answer = answer
        self._clock = clock
        self._placement = placement
        self._library: Library | None = None
        self._asked: dict[tuple[str, int], _Asked] = {}
        self._questions: list[Question] = []
        self._known: set[int] | None = None
        self._fresh: set[int] = set()
        self._is_silent = False
        self._number = next(_numbers)

    def _bring(self, found: FormerFound) -> None:
        """Bring an answer to the loop, which may be another reign's by then."""
        found.reuse = self._number
        self._answer(found)

    def offer(self, out: Decision) -> None:
        """Take what may start: it is asked for, or put forward for a place at once."""
        self._learn(out.batch)
        ready, out.ready = out.ready, []
        for run, task in ready:
            place = run.run_id, task.plan.index
            if place in self._asked and _is_as_asked(self._asked[place]):
                continue
            self._placement.twins.note_look(task)
            question = self._make_question(run, task)
            if question is None:
                self._placement.add(run, task, out)
            else:
                self._asked.pop(place, None)  # the oldest question comes first
                deadline = self._clock.monotonic() + PATIENCE_S
                self._asked[place] = _Asked(question.number, task, task.row.attempt, deadline)
                self._questions.append(question)

    def _make_question(self, run: LiveRun, task: LiveTask) -> Question | None:
        plan = task.plan
        if plan.cache != "use" or self._open_library is None or self._is_silent:
            return None
        if not run.may_start or task.state not in WAITING_TASK_STATES:
            return None
        keys = find_keys(run, task)
        if keys is None or not any(self._may_stand(key) for key in keys):
            return None
        return Question(next(_numbers), run.run_id, plan.index, run.namespace, keys, plan.n_outputs)

    def _may_stand(self, key: str) -> bool:
        return self._known is None or shorten_key(key) in self._known

    def _learn(self, batch: Batch) -> None:
        """Note what is made: it stands there once the batch is committed, or we do not lead."""
        if batch.entries:
            made = {shorten_key(key) for _, key in batch.entries}
            if self._known is not None:
                self._known |= made
                if len(self._known) > 2 * KNOWN_LIMIT:
                    self._known = None  # from now on the database is asked
            elif len(self._fresh) < KNOWN_LIMIT:
                self._fresh |= made

    def send(self) -> None:
        """Put the questions that have gathered, after the commit."""
        if self._questions:
            questions, self._questions = self._questions, []
            if self._library is None:
                assert self._open_library is not None, "without it there are no questions"
                self._library = self._open_library(self._bring)
            self._library.ask(questions)

    def hear(self, found: FormerFound, runs: Mapping[str, LiveRun], out: Decision) -> None:
        """Let former results stand in; put forward for a place what nothing was found for."""
        if found.reuse != self._number:
            return
        self._is_silent = False
        if found.known is not None and len(self._fresh) < KNOWN_LIMIT:
            self._known = found.known | self._fresh
            self._fresh = set()
        for answer in found.answers:
            asked = self._asked.get((answer.run_id, answer.index))
            if asked is None or asked.number != answer.number:
                continue
            del self._asked[answer.run_id, answer.index]
            run = runs.get(answer.run_id)
            if run is None or not _is_as_asked(asked):
                continue
            if answer.former is not None and run.may_start:
                machine.serve_former(run, asked.task, answer.former, out)
                continue
            if answer.gone is not None:
                machine.note_gone(run, asked.task, answer.gone, answer.detail, out)
            self._placement.add(run, asked.task, out)

    def wait_no_longer(self, runs: Mapping[str, LiveRun], out: Decision) -> None:
        """Put forward what has waited too long for an answer."""
        now = self._clock.monotonic()
        for place, asked in list(self._asked.items()):
            if asked.deadline > now:
                return  # they were asked in this order
            del self._asked[place]
            self._is_silent = True
            run = runs.get(place[0])
            if run is not None and _is_as_asked(asked):
                self._placement.add(run, asked.task, out)

    def close(self) -> None:
        """Hear no more answers."""
        if self._library is not None:
            self._library.close()


def _is_as_asked(asked: _Asked) -> bool:
    """Tell whether a task still waits for what was asked: not cancelled, nor handed out since."""
    return asked.task.state in WAITING_TASK_STATES and asked.task.row.attempt == asked.attempt
