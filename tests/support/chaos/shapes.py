"""The small DAGs that a load of runs is made of, and how each of them may end."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

STOPPED = "cancelled"
"""The shape whose run the client cancels after it was accepted."""
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Step:
    """An operator: what it waits for, how long it works, how often it fails, what it brings."""

    name: str
    upstream: tuple[str, ...] = ()
    seconds: float = 0.0
    fail_first: int = 0
    retries: int = 0
    file_bytes: int = 0
    on_failure: str = "continue"


@dataclass(frozen=True, slots=True)
class Shape:
    """A DAG and the states in which its run may end, where nothing but the DAG decides."""

    name: str
    steps: tuple[Step, ...]
    ends: frozenset[str] = frozenset({"succeeded"})


def _chain(chance: random.Random) -> Shape:
    names = [f"c{number}" for number in range(chance.randint(2, 6))]
    steps = [
        Step(name, (names[index - 1],) if index else (), _draw_s(chance))
        for index, name in enumerate(names)
    ]
    return Shape("chain", tuple(steps))


def _fan(chance: random.Random) -> Shape:
    branches = tuple(f"b{number}" for number in range(chance.randint(2, 6)))
    steps = [Step("first", (), _draw_s(chance))]
    steps += [Step(name, ("first",), _draw_s(chance)) for name in branches]
    steps.append(Step("last", branches, _draw_s(chance)))
    return Shape("fan", tuple(steps))


def _retry(chance: random.Random) -> Shape:
    n_failures = chance.randint(1, 2)
    shaky = Step("shaky", ("first",), _draw_s(chance), fail_first=n_failures, retries=n_failures)
    steps = (Step("first", (), _draw_s(chance)), shaky, Step("last", ("shaky",), _draw_s(chance)))
    return Shape("retry", steps)


def _files(chance: random.Random) -> Shape:
    def size() -> int:
        return chance.choice((16, 256, 1024, 4096)) * _KIB + chance.randint(1, 99)

    steps = (
        Step("write", (), _draw_s(chance), file_bytes=size()),
        Step("left", ("write",), _draw_s(chance), file_bytes=size()),
        Step("right", ("write",), _draw_s(chance), file_bytes=size()),
        Step("read", ("left", "right"), _draw_s(chance)),
    )
    return Shape("files", steps)


def _alternative(chance: random.Random) -> Shape:
    steps = (
        Step("first", (), _draw_s(chance)),
        Step("broken", ("first",), _draw_s(chance), fail_first=99, on_failure="other"),
        Step("other", ("first",), _draw_s(chance)),
        Step("last", ("broken",), _draw_s(chance)),
    )
    return Shape("alternative", steps)


def _doomed(chance: random.Random) -> Shape:
    steps = (
        Step("first", (), _draw_s(chance)),
        Step("broken", ("first",), _draw_s(chance), fail_first=99),
        Step("beside", ("first",), _draw_s(chance)),
        Step("never", ("broken", "beside"), _draw_s(chance)),
    )
    return Shape("doomed", steps, frozenset({"failed"}))


def _stopped(chance: random.Random) -> Shape:
    steps = (
        Step("long", (), 0.3),
        Step("longer", ("long",), 0.3),
        Step("last", ("longer",), _draw_s(chance)),
    )
    return Shape(STOPPED, steps, frozenset({"cancelled", "succeeded"}))


_MAKERS: tuple[tuple[Callable[[random.Random], Shape], int], ...] = (
    (_chain, 4),
    (_fan, 5),
    (_retry, 3),
    (_files, 4),
    (_alternative, 1),
    (_doomed, 1),
    (_stopped, 1),
)


def draw_shape(seed: str) -> Shape:
    """Draw the shape of a run; the same seed gives the same one."""
    chance = random.Random(seed)
    makers, weights = zip(*_MAKERS, strict=True)
    make: Callable[[random.Random], Shape] = chance.choices(makers, weights)[0]
    return make(chance)


def _draw_s(chance: random.Random) -> float:
    """Draw how long an operator works: mostly a few milliseconds, at times up to 300."""
    return round(chance.choice((0.003, 0.01, 0.03, 0.1, 0.3)) * chance.uniform(0.3, 1.0), 4)


def make_dag(shape: Shape, key: str, ledger: str) -> dict[str, Any]:
    """Make the DAG file of a run, as the body of a request; the key is its name."""
    rels: dict[str, list[dict[str, Any]]] = {step.name: [] for step in shape.steps}
    for step in shape.steps:
        for source in step.upstream:
            rels[source].append({"target": step.name, "source_index": 0, "target_index": 0})
    return {
        "dag": {
            "name": key,
            "operator_list": [step.name for step in shape.steps],
            "operator_rels": rels,
            "operator_details": {
                step.name: {
                    "algo_name": "write_ledger",
                    "params": {
                        "ledger": ledger,
                        "line": f"{key} {step.name}",
                        "is_detailed": True,
                        "seconds": step.seconds,
                        "fail_first": step.fail_first,
                        "file_bytes": step.file_bytes,
                    },
                    "run": {
                        "retries": step.retries,
                        "retry_on": ["error"] if step.retries else ["lost"],
                        "retry_delay_s": 0.1,
                        "on_failure": step.on_failure,
                    },
                }
                for step in shape.steps
            },
        }
    }
