"""Judges a campaign: was anything lost, taken twice, begun too early, or repeated without cause?

It reads what stands outside the system (the client's log, the operators' ledger, the log of
faults) against what the system says of itself (the database, the artifacts).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dag_engine.core.states import FINAL_RUN_STATES
from tests.support.chaos.explaining import find_unexplained
from tests.support.chaos.history import History, StoredTask
from tests.support.chaos.shapes import Shape, Step, draw_shape

SLOW_REFUSAL_S = 6.0


@dataclass(slots=True)
class Verdict:
    """What is wrong, by the promise that is broken; empty lists where nothing is."""

    lost: list[str] = field(default_factory=list)
    double_accepted: list[str] = field(default_factory=list)
    started_early: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Return everything that is wrong."""
        return [f"{name}: {text}" for name in self.__slots__ for text in getattr(self, name)]


class _Index:
    """The history by run, key and task."""

    def __init__(self, history: History) -> None:
        self.run_by_id = {run.run_id: run for run in history.runs}
        self.runs_by_key: dict[str, list[str]] = defaultdict(list)
        for run in history.runs:
            self.runs_by_key[run.key].append(run.run_id)
        self.tasks: dict[str, dict[str, StoredTask]] = defaultdict(dict)
        for task in history.tasks:
            self.tasks[task.run_id][task.operator] = task
        self.shapes = {key: draw_shape(key) for key in history.asked}


def check(history: History) -> Verdict:
    """Judge a history."""
    index = _Index(history)
    verdict = Verdict()
    verdict.lost += _find_lost(history, index)
    verdict.double_accepted += _find_double(history, index)
    verdict.double_accepted += _find_double_ends(history)
    verdict.started_early += _find_early(history, index)
    verdict.unexplained += find_unexplained(history)
    verdict.artifacts += _find_damaged(history, index)
    verdict.others += history.replay_problems
    verdict.others += _find_wrong_answers(history)
    verdict.others += _find_crowds(history)
    return verdict


def _find_lost(history: History, index: _Index) -> Iterator[str]:
    """What was answered 202 is there, has ended, and as its DAG says."""
    for key, run_ids in history.acked.items():
        for run_id in run_ids:
            run = index.run_by_id.get(run_id)
            if run is None:
                yield f"{run_id} ({key}) was acknowledged and is not there"
            elif run.state not in FINAL_RUN_STATES:
                yield f"{run_id} ({key}) was acknowledged and is {run.state}"
    for run in history.runs:
        shape = index.shapes.get(run.key)
        if shape is None or run.state not in FINAL_RUN_STATES or run.state in shape.ends:
            continue
        if not any(task.reason == "quarantined" for task in index.tasks[run.run_id].values()):
            yield f"{run.run_id} is {run.state}; a {shape.name} ends {sorted(shape.ends)}"


def _find_double(history: History, index: _Index) -> Iterator[str]:
    """A key made one run."""
    for key, run_ids in index.runs_by_key.items():
        if key not in history.asked:
            yield f"{run_ids} were made for {key!r}, which nobody asked for"
        elif len(run_ids) > 1:
            yield f"{key} made {len(run_ids)} runs: {run_ids}"
    for key, told in history.acked.items():
        if len(told) > 1:
            yield f"{key} was answered with {sorted(told)}"


def _find_double_ends(history: History) -> Iterator[str]:
    """A task succeeded once; an attempt ended once."""
    successes: Counter[tuple[str, str]] = Counter()
    ends: Counter[tuple[str, str, int]] = Counter()
    for event in history.events:
        successes[event.run_id, event.operator] += event.to_state == "succeeded"
        if event.from_state in ("queued", "running") and event.to_state != "running":
            ends[event.run_id, event.operator, event.attempt] += 1
    for (run_id, operator), number in successes.items():
        if number > 1:
            yield f"{run_id} {operator} succeeded {number} times"
    for (run_id, operator, attempt), number in ends.items():
        if number > 1:
            yield f"{run_id} {operator} attempt {attempt} ended {number} times"
    accepted = Counter(
        (row.run_id, row.index) for row in history.attempts if row.state == "succeeded"
    )
    for (run_id, task), number in accepted.items():
        if number > 1:
            yield f"{run_id} task {task} has {number} attempts that succeeded"


def _find_early(history: History, index: _Index) -> Iterator[str]:
    """No operator began before what it waits for was accepted."""
    accepted = {
        (event.run_id, event.operator): event.at
        for event in history.events
        if event.to_state == "succeeded"
    }
    for line in history.ledger:
        if line.what != "start":
            continue
        run_id = line.attempt_id.partition(".")[0]
        for source in _find_providers(index.shapes[line.key], line.operator):
            moments = [accepted[run_id, name] for name in source if (run_id, name) in accepted]
            if not moments:
                yield f"{line.attempt_id} began, and none of {source} was ever accepted"
            elif line.at < min(moments):
                early_s = min(moments) - line.at
                yield f"{line.attempt_id} began {early_s:.3f} s before {source} was accepted"


def _find_providers(shape: Shape, operator: str) -> Iterator[tuple[str, ...]]:
    """Tell for each operator upstream who can bring its results: itself, or what stands in."""
    steps: dict[str, Step] = {step.name: step for step in shape.steps}
    for name in steps[operator].upstream:
        stand_in = steps[name].on_failure
        yield (name, stand_in) if stand_in in steps else (name,)


def _find_damaged(history: History, index: _Index) -> Iterator[str]:
    """What a task that succeeded refers to is there, whole and unchanged."""
    referred = {(artifact.run_id, artifact.index) for artifact in history.artifacts}
    for tasks in index.tasks.values():
        for task in tasks.values():
            if task.state == "succeeded" and (task.run_id, task.index) not in referred:
                yield f"{task.run_id} {task.operator} succeeded and refers to nothing"
    for artifact in history.artifacts:
        if not artifact.path:
            continue
        try:
            data = Path(artifact.path).read_bytes()
        except OSError as error:
            yield f"{artifact.path} cannot be read: {error.strerror}"
            continue
        if len(data) != artifact.size_bytes:
            yield f"{artifact.path} has {len(data)} bytes, not {artifact.size_bytes}"
        elif hashlib.sha256(data).hexdigest() != artifact.sha256:
            yield f"{artifact.path} has another digest than its reference says"


def _find_wrong_answers(history: History) -> Iterator[str]:
    """The client was answered 202, or that it should come again; and the latter soon."""
    for answer in history.answers:
        if answer["what"] != "refused":
            yield f"the client got {answer}"
        elif answer["took_s"] > SLOW_REFUSAL_S:
            yield f"a refusal took {answer['took_s']:.1f} s: {answer}"


def _find_crowds(history: History) -> Iterator[str]:
    """No engine ran more at once than it has slots; work whose end is not known is left out."""
    engines = {row.attempt_id: row.engine for row in history.attempts}
    begun: dict[tuple[str, int], float] = {}
    moments: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for line in sorted(history.ledger, key=lambda line: line.at):
        place = (line.attempt_id, line.pid)
        if line.what == "start":
            begun[place] = line.at
        elif place in begun:
            engine = engines.get(line.attempt_id, "")
            moments[engine] += [(begun.pop(place), 1), (line.at, -1)]
    for engine, steps in moments.items():
        n_now = most = 0
        for _, step in sorted(steps):
            n_now += step
            most = max(most, n_now)
        if most > history.n_slots:
            yield f"{engine} ran {most} at once, and has {history.n_slots} slots"
