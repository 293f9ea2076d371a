"""Equal work is done once: whoever comes second waits for the result of the first.

Nobody waits but for an attempt that is out at an operator engine, and whatever its end is, those
who waited are released: to find its result, or to do the work themselves. So there is no circle to
be caught in, and nothing to be stored: a successor learns from the attempts that are out.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from dag_engine.core.live import LiveRun, LiveTask
from dag_engine.core.states import WAITING_TASK_STATES, TaskState
from dag_engine.core.work_keys import find_keys

LARGEST_WAITS = 3
"""A task waits for others so often at most: where they fail one after the other, it does not go on
to stand in their line.
"""
REMEMBERED = 10_000

_Place = tuple[str, int]
_Name = tuple[str, str]


@dataclass(slots=True)
class _Maker:
    run: LiveRun
    task: LiveTask
    names: tuple[_Name, _Name]


@dataclass(slots=True)
class Twins:
    """What is being made by which attempt, and who waits for it."""

    _makers: dict[str, _Maker] = field(default_factory=dict)
    _by_name: dict[_Name, set[str]] = field(default_factory=dict)
    _parked: dict[_Name, dict[_Place, tuple[LiveRun, LiveTask]]] = field(default_factory=dict)
    _readers: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _made: OrderedDict[_Name, int] = field(default_factory=OrderedDict)
    _n_made: int = 0

    def note_look(self, task: LiveTask) -> None:
        """Note that a former result of a task is looked for now."""
        task.looked_at = self._n_made

    def is_made_since(self, run: LiveRun, task: LiveTask) -> bool:
        """Tell whether the result of an equal task has come since a former one was looked for."""
        if task.plan.cache != "use" or task.looked_at == self._n_made:
            return False
        keys = find_keys(run, task)
        return keys is not None and any(
            self._made.get((run.namespace, key), 0) > task.looked_at for key in keys
        )

    def park(self, run: LiveRun, task: LiveTask) -> LiveTask | None:
        """Let a task wait where an equal one is out; returns that one, None where there is none.

        Where the work is known to hang on the seed, only a task with the same seed is an equal one.
        """
        if task.plan.cache != "use" or not self._makers:
            return None
        keys = find_keys(run, task)
        if keys is None:
            return None
        name = run.namespace, keys.choose(has_read_seed=task.plan.work_base in self._readers)
        if name not in self._by_name or task.n_waits >= LARGEST_WAITS:
            return None
        task.n_waits += 1
        self._parked.setdefault(name, {})[run.run_id, task.plan.index] = run, task
        return self._makers[min(self._by_name[name])].task

    def note_out(self, attempt_id: str, run: LiveRun, task: LiveTask) -> None:
        """Note that an attempt is out, so that equal tasks may wait for it."""
        keys = find_keys(run, task)
        if keys is not None:
            names = (run.namespace, keys.plain), (run.namespace, keys.seeded)
            self._makers[attempt_id] = _Maker(run, task, names)
            for name in names:
                self._by_name.setdefault(name, set()).add(attempt_id)
                if name in self._parked:  # what a resumed run offered again
                    self._parked[name].pop((run.run_id, task.plan.index), None)

    def note_back(self, attempt_id: str) -> list[tuple[LiveRun, LiveTask]]:
        """Note that an attempt is over; returns the tasks that have waited for it."""
        maker = self._makers.pop(attempt_id, None)
        if maker is None:
            return []
        if maker.task.state is TaskState.SUCCEEDED:
            self._note_made(maker)
        released: dict[_Place, tuple[LiveRun, LiveTask]] = {}
        for name in maker.names:
            attempts = self._by_name[name]
            attempts.discard(attempt_id)
            if not attempts:
                del self._by_name[name]
            released |= self._parked.pop(name, {})
        return [
            (run, task)
            for run, task in released.values()
            if task.state in WAITING_TASK_STATES and not run.is_final
        ]

    def count_waiting(self) -> int:
        """Count the tasks that wait for equal work; any thread may ask."""
        parked = [
            waiting for some in list(self._parked.values()) for waiting in list(some.values())
        ]
        return sum(task.state in WAITING_TASK_STATES for _, task in parked)

    def _note_made(self, maker: _Maker) -> None:
        self._n_made += 1
        self._made[maker.names[maker.task.has_read_seed]] = self._n_made
        if maker.task.has_read_seed:
            self._readers[maker.task.plan.work_base] = None
        for book in (self._made, self._readers):
            if len(book) > REMEMBERED:
                book.popitem(last=False)
