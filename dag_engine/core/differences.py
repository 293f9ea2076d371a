"""In what the work of two tasks differs, part by part: why one's result is not the other's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from dag_engine.core.plan import PlannedTask
from dag_engine.core.work_keys import Inputs, print_artifact

_LONGEST_VALUE = 200
_WORDS = {
    "algorithm": "the algorithm",
    "code": "the code of the algorithm",
    "parameter": "the parameter {}",
    "dataset": "the data set {}",
    "sealed": "a connection or secret that it names",
    "input": "what comes into input {}",
    "seed": "the seed, which is drawn for every run,",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One part that differs: which, by what name, how it is now and how it was."""

    part: str
    name: str = ""
    now: str = ""
    former: str = ""

    @property
    def message(self) -> str:
        """Say it in words."""
        values = f": {self.now} now, {self.former} then" if self.now or self.former else ""
        return f"{_WORDS[self.part].format(self.name)} differs{values}"


def list_differences(
    now: PlannedTask,
    inputs: Inputs,
    former: PlannedTask,
    former_inputs: Inputs,
    *,
    has_read_seed: bool,
) -> list[Difference]:
    """Compare the work of two tasks; `has_read_seed`: the former result hangs on its seed."""
    found: list[Difference] = []
    if now.work_base != former.work_base:
        # Where nothing else tells them apart, it is the version of what is sealed.
        found += list(_compare_bases(now, former)) or [Difference("sealed")]
    found += _compare_inputs(inputs, former_inputs)
    if has_read_seed and now.seed != former.seed:
        found.append(Difference("seed", "", str(now.seed), str(former.seed)))
    return found


def _compare_bases(now: PlannedTask, former: PlannedTask) -> Iterator[Difference]:
    if now.algorithm != former.algorithm:
        yield Difference("algorithm", "", now.algorithm, former.algorithm)
    if now.code_version != former.code_version:
        yield Difference("code", "", now.code_version, former.code_version)
    for name in sorted(now.params.keys() | former.params.keys()):
        values = _show(now.params, name), _show(former.params, name)
        is_same_dataset = now.datasets.keys() & {value.strip('"') for value in values}
        if values[0] != values[1] and not (is_same_dataset and _are_one_text(*values)):
            yield Difference("parameter", name, *values)
    for name in sorted(now.datasets.keys() & former.datasets.keys()):
        versions = now.datasets[name].version, former.datasets[name].version
        if versions[0] != versions[1]:
            yield Difference("dataset", name, *(f"version {version}" for version in versions))


def _show(params: dict[str, Any], name: str) -> str:
    if name not in params:
        return "left out"
    return msgspec.json.encode(params[name], order="deterministic").decode()[:_LONGEST_VALUE]


def _are_one_text(one: str, other: str) -> bool:
    """Take the number of a data set for its text."""
    return one.strip('"') == other.strip('"')


def _compare_inputs(inputs: Inputs, former: Inputs) -> Iterator[Difference]:
    for port in range(max(len(inputs), len(former))):
        brought = [
            [print_artifact(ref) for ref in ports[port]] if port < len(ports) else []
            for ports in (inputs, former)
        ]
        if brought[0] != brought[1]:
            digests = (", ".join(str(one[1])[:12] for one in some) or "nothing" for some in brought)
            yield Difference("input", str(port), *digests)
