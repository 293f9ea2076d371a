"""Which ready task goes to which operator engine: queues with limits, labels, priorities, windows.

An engine's window is its slots and a reserve, so that no slot waits for news. It is measured in
places, and what takes a moment takes only a part of one: a hundred no-ops are done before the next
ones could be there, and a hundred long tasks would wait for one engine while another has room.

Ready tasks lie in buckets of equal needs (queue, executor, labels), each a heap, and engines with
room are known by executor, so that the price of placing a task grows neither with the number of
those that wait nor with that of the engines which are full.
"""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dag_engine.core.live import Decision, LiveRun, LiveTask, attempt_id_of
from dag_engine.core.machine import hand_out, hold_back
from dag_engine.core.paces import PLACE, Paces
from dag_engine.core.states import WAITING_TASK_STATES, TaskState
from dag_engine.core.twins import Twins

SMALLEST_RESERVE = 16
"""An engine has at least so many places beyond its slots."""
REASONS_REWRITTEN = 1000
"""So many waiting tasks of a bucket get a new reason at most when what they wait for changes."""
SAME_WORK = "same_work"
"""Reason code of a task that waits for the result of an equal one."""

Labels = tuple[tuple[str, str], ...]
Needs = tuple[str, str, Labels]
_Key = tuple[int, dt.datetime, str, int]


@dataclass(slots=True)
class Engine:
    """An operator engine as the placement sees it: what it bears, and what is out at it.

    `taken` counts by executor the parts of places that are taken.
    """

    engine_id: str
    labels: dict[str, str] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    is_alive: bool = True
    is_leaving: bool = False

    def serves(self, executor: str, labels: Labels) -> bool:
        """Tell whether it has the executor and bears all the labels."""
        return executor in self.slots and all(self.labels.get(k) == v for k, v in labels)

    def has_room(self, executor: str) -> bool:
        """Tell whether it may be handed one more task of an executor."""
        slots = self.slots.get(executor, 0)
        places = slots + max(SMALLEST_RESERVE, slots)
        return self.taken.get(executor, 0) < places * PLACE

    def load(self, executor: str) -> float:
        """Return the share of its slots that is taken; may be over 1."""
        return self.taken.get(executor, 0) / (PLACE * max(1, self.slots.get(executor, 0)))


@dataclass(frozen=True, slots=True)
class _Out:
    """An attempt that is out: of which task, where, and how many parts of a place it takes."""

    task: LiveTask
    engine: Engine | None
    weight: int


@dataclass(slots=True)
class _Bucket:
    needs: Needs
    heap: list[tuple[_Key, LiveRun, LiveTask]] = field(default_factory=list)
    unexplained: list[tuple[LiveRun, LiveTask]] = field(default_factory=list)
    code: str = ""
    reason: str = ""


class _Seats:
    """The engines that fit some needs, during one round of placing: there loads only rise."""

    def __init__(self, executor: str, engines: list[Engine]) -> None:
        self._executor = executor
        self._heap = [(engine.load(executor), engine.engine_id, engine) for engine in engines]
        heapq.heapify(self._heap)

    def choose(self) -> Engine | None:
        """Return the engine with room whose load is the lowest, of equals that of the first id."""
        heap, executor = self._heap, self._executor
        while heap:
            load, engine_id, engine = heap[0]
            if not engine.has_room(executor):
                heapq.heappop(heap)
            elif engine.load(executor) > load:  # it was handed something since
                heapq.heapreplace(heap, (engine.load(executor), engine_id, engine))
            else:
                return engine
        return None


@dataclass(slots=True)
class Placement:
    """Everything that waits for a place, and everything that is out.

    `limits` gives named queues a largest number of tasks that may be out at once.
    """

    limits: Mapping[str, int | None] = field(default_factory=dict)
    engines: dict[str, Engine] = field(default_factory=dict)
    twins: Twins = field(default_factory=Twins)
    _paces: Paces = field(default_factory=Paces)
    _roomy: dict[str, dict[str, Engine]] = field(default_factory=dict)
    _buckets: dict[Needs, _Bucket] = field(default_factory=dict)
    _offered: set[tuple[str, int]] = field(default_factory=set)
    _out: dict[str, _Out] = field(default_factory=dict)
    _n_queued: dict[str, int] = field(default_factory=dict)

    def admit(self, engine: Engine) -> None:
        """Take an engine in, or in again with other executors or slots."""
        self.dismiss(engine.engine_id)
        self.engines[engine.engine_id] = engine
        for executor in engine.slots:
            self._note_room(engine, executor)

    def dismiss(self, engine_id: str) -> None:
        """Forget an engine; what is out at it is counted until it is counted back."""
        self.engines.pop(engine_id, None)
        for roomy in self._roomy.values():
            roomy.pop(engine_id, None)

    def add(self, run: LiveRun, task: LiveTask, out: Decision) -> None:
        """Put a task forward; one whose run is held gets its reason at once. Twice counts once."""
        if not run.may_start:
            hold_back(run, task, "run_paused", "The run is paused.", out)
            return
        key = (run.run_id, task.plan.index)
        if key in self._offered:
            return
        self._offered.add(key)
        plan = task.plan
        needs: Needs = (plan.queue, plan.executor, tuple(sorted(plan.labels.items())))
        bucket = self._buckets.get(needs)
        if bucket is None:
            bucket = self._buckets[needs] = _Bucket(needs)
        rank = (-plan.priority - run.priority, run.created_at, run.run_id, plan.index)
        heapq.heappush(bucket.heap, (rank, run, task))
        bucket.unexplained.append((run, task))

    def place(self, out: Decision, send: Callable[[LiveRun, LiveTask, Engine], None]) -> None:
        """Hand out what has a place, the highest priority first; `send` is told of each."""
        heads = [
            (bucket.heap[0][0], i) for i, bucket in enumerate(self._buckets.values()) if bucket.heap
        ]
        heapq.heapify(heads)
        buckets = list(self._buckets.values())
        seats: dict[tuple[str, Labels], _Seats] = {}
        while heads:
            _, i = heapq.heappop(heads)
            bucket = buckets[i]
            self._drop_stale(bucket, out)
            if not bucket.heap:
                continue
            engine = self._choose(bucket, seats)
            if engine is None:
                continue
            _, run, task = heapq.heappop(bucket.heap)
            self._offered.discard((run.run_id, task.plan.index))
            if not self._wait_for_twin(run, task, out):
                hand_out(run, task, engine.engine_id, out)
                attempt_id = attempt_id_of(run.run_id, task.row.index, task.row.attempt)
                self.count_out(attempt_id, engine.engine_id, run, task)
                send(run, task, engine)
            if bucket.heap:
                heapq.heappush(heads, (bucket.heap[0][0], i))
            else:
                bucket.unexplained.clear()

    @property
    def has_unexplained(self) -> bool:
        """Whether tasks wait whose reason is not stored yet."""
        return any(bucket.heap and bucket.unexplained for bucket in self._buckets.values())

    def explain(self, out: Decision) -> None:
        """Store for the tasks that really wait what they wait for."""
        for needs, bucket in list(self._buckets.items()):
            self._drop_stale(bucket, out)
            if not bucket.heap:
                del self._buckets[needs]
                continue
            code, reason = self._why(bucket)
            waiting = bucket.unexplained
            if code != bucket.code:
                bucket.code, bucket.reason = code, reason
                waiting += [(run, task) for _, run, task in bucket.heap[:REASONS_REWRITTEN]]
            for run, task in waiting:
                if (run.run_id, task.plan.index) in self._offered:
                    hold_back(run, task, code, reason, out)
            bucket.unexplained = []

    def _wait_for_twin(self, run: LiveRun, task: LiveTask, out: Decision) -> bool:
        """Keep back what an equal task has made by now, or is making."""
        if self.twins.is_made_since(run, task):
            out.ready.append((run, task))
            return True
        twin = self.twins.park(run, task)
        if twin is not None:
            text = f"The same is being done by {twin.plan.operator} of run {twin.row.run_id}."
            hold_back(run, task, SAME_WORK, text, out)
        return twin is not None

    def count_out(self, attempt_id: str, engine_id: str, run: LiveRun, task: LiveTask) -> None:
        """Count an attempt as out at an engine (also one that an earlier scheduler handed out)."""
        if attempt_id in self._out:
            return
        self.twins.note_out(attempt_id, run, task)
        engine = self.engines.get(engine_id)
        executor, queue = task.plan.executor, task.plan.queue
        weight = self._paces.weigh(executor, task.plan.algorithm)
        if engine is not None:
            engine.taken[executor] = engine.taken.get(executor, 0) + weight
            self._note_room(engine, executor)
        self._n_queued[queue] = self._n_queued.get(queue, 0) + 1
        self._out[attempt_id] = _Out(task, engine, weight)

    def count_back(self, attempt_id: str) -> list[tuple[LiveRun, LiveTask]]:
        """Count an attempt as no longer out; returns the tasks that have waited for its result."""
        gone = self._out.pop(attempt_id, None)
        if gone is None:
            return []
        plan, row = gone.task.plan, gone.task.row
        if gone.engine is not None:
            gone.engine.taken[plan.executor] -= gone.weight
            self._note_room(gone.engine, plan.executor)
        self._n_queued[plan.queue] -= 1
        if gone.task.state is TaskState.SUCCEEDED and row.started_at and row.ended_at:
            self._paces.note(plan.executor, plan.algorithm, row.ended_at - row.started_at)
        return self.twins.note_back(attempt_id)

    def waiting(self) -> dict[str, int]:
        """Count the tasks that wait, by queue; for metrics."""
        counts: dict[str, int] = {}
        for (queue, _, _), bucket in list(self._buckets.items()):  # any thread may ask
            counts[queue] = counts.get(queue, 0) + len(bucket.heap)
        return counts

    def waiting_why(self) -> dict[str, int]:
        """Count the tasks that wait for a reason which is stored, by its code; for metrics."""
        counts: dict[str, int] = {}
        for bucket in list(self._buckets.values()):
            if bucket.code and bucket.heap:
                counts[bucket.code] = counts.get(bucket.code, 0) + len(bucket.heap)
        if n_parked := self.twins.count_waiting():
            counts[SAME_WORK] = n_parked
        return counts

    def _drop_stale(self, bucket: _Bucket, out: Decision) -> None:
        """Take from the head what was cancelled, skipped or paused since it was put forward."""
        while bucket.heap:
            _, run, task = bucket.heap[0]
            is_waiting = task.state in WAITING_TASK_STATES
            if is_waiting and run.may_start:
                return
            heapq.heappop(bucket.heap)
            self._offered.discard((run.run_id, task.plan.index))
            if is_waiting:
                hold_back(run, task, "run_paused", "The run is paused.", out)

    def _note_room(self, engine: Engine, executor: str) -> None:
        roomy = self._roomy.setdefault(executor, {})
        if self.engines.get(engine.engine_id) is engine and engine.has_room(executor):
            roomy[engine.engine_id] = engine
        else:
            roomy.pop(engine.engine_id, None)

    def _choose(self, bucket: _Bucket, seats: dict[tuple[str, Labels], _Seats]) -> Engine | None:
        """Choose the engine with the lowest load; `seats` remembers those looked at before."""
        queue, executor, labels = bucket.needs
        limit = self.limits.get(queue)
        if limit is not None and self._n_queued.get(queue, 0) >= limit:
            return None
        there = seats.get((executor, labels))
        if there is None:
            there = seats[executor, labels] = _Seats(
                executor,
                [
                    engine
                    for engine in self._roomy.get(executor, {}).values()
                    if engine.is_alive and not engine.is_leaving and engine.serves(executor, labels)
                ],
            )
        return there.choose()

    def _why(self, bucket: _Bucket) -> tuple[str, str]:
        queue, executor, labels = bucket.needs
        limit = self.limits.get(queue)
        if limit is not None and self._n_queued.get(queue, 0) >= limit:
            return "queue_full", f"Queue {queue!r} has its limit of {limit} tasks out."
        serving = [engine for engine in self.engines.values() if engine.serves(executor, labels)]
        wanted = f"executor {executor!r}"
        if labels:
            wanted += " and labels " + ", ".join(f"{name}={value}" for name, value in labels)
        if not serving:
            return "no_engine", f"No operator engine with {wanted} has registered."
        if not any(engine.is_alive for engine in serving):
            return "engine_away", f"Every operator engine with {wanted} is away just now."
        if all(engine.is_leaving for engine in serving if engine.is_alive):
            return "engine_away", f"Every operator engine with {wanted} is being stopped."
        return "slots_busy", f"All slots of every operator engine with {wanted} are taken."
