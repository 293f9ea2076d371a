"""Books of equal work: what stands in for a task must be what the task would have made itself."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from dag_engine.core.live import split_attempt_id
from tests.support.simulation.graphs import SEED_READERS

if TYPE_CHECKING:
    from tests.support.event_replay import Replay
    from tests.support.simulation.tables import Tables

Work = tuple[Any, ...]


class ReuseBooks:
    """Knows work by what goes in, and who waited for whom; shares nothing with what decides."""

    def __init__(self, tables: Tables, replays: dict[str, Replay]) -> None:
        self._tables = tables
        self._replays = replays
        self._n_waits: Counter[tuple[str, int]] = Counter()
        self._kept: set[str] = set()
        self.is_undisturbed = True
        self.n_hits = 0
        self.n_waits = 0

    def note_task(self, row: Any) -> None:
        """Note that a task waits for an equal one."""
        if row.reason_code == "same_work":
            self._n_waits[row.run_id, row.idx] += 1
            self.n_waits += 1

    def note_entries(self, rows: list[Any]) -> None:
        """Note at the end of a transaction which results it keeps."""
        self._kept.update(repr(self.work_of(row[2], row[3])) for row in rows)

    def find_fault(self, event: Any, index: int, out: dict[str, tuple[str, Any]]) -> str:
        """Tell what is wrong with a former result that is used, or with one that is not."""
        if event.reason_code == "cached":
            return self._find_fault_of_hit(event.run_id, index)
        if event.to_state == "queued":
            return self._find_fault_of_start(event.run_id, index, out)
        return ""

    def _find_fault_of_hit(self, run_id: str, index: int) -> str:
        """Tell what is wrong with the former result that a task was just given."""
        self.n_hits += 1
        plan = self._replays[run_id].plan[index]
        finding = self._tables.findings.get((run_id, index))
        if plan.cache != "use" or finding is None or finding.verdict != "hit":
            return f"a former result stands in, cache is {plan.cache}, found was {finding}"
        source = finding.source_run, finding.source_idx
        maker = self._replays[source[0]].plan[source[1]]
        attempt = self._tables.attempts.get((*source, finding.source_attempt))
        if attempt is None or attempt.state != "succeeded" or maker.cache == "off":
            return f"the former result of {source} was never kept"
        if self.work_of(run_id, index) != self.work_of(*source):
            return f"{source} did other work"
        if self._outputs(run_id, index) != self._outputs(*source):
            return f"the outputs are not those of {source}"
        return ""

    def _find_fault_of_start(self, run_id: str, index: int, out: dict[str, tuple[str, Any]]) -> str:
        """Tell whether a task is handed out that should have waited for an equal one."""
        plan = self._replays[run_id].plan[index]
        if plan.cache != "use" or self._n_waits[run_id, index]:
            return ""
        work = self.work_of(run_id, index)
        if self.is_undisturbed and repr(work) in self._kept:
            return "its result was there already"
        for name, (_, other) in out.items():
            place = split_attempt_id(name)[:2]
            if place != (run_id, index) and other.cache != "off" and self.work_of(*place) == work:
                return f"the same is being done by {name}"
        return ""

    def work_of(self, run_id: str, index: int) -> Work:
        """Tell a task's work: what is done, and with what."""
        plan = self._replays[run_id].plan[index]
        seed = plan.seed if plan.algorithm in SEED_READERS else None
        inputs = [[self._bring(run_id, edge) for edge in port] for port in plan.inputs]
        return plan.algorithm, msgspec.json.encode(plan.params), seed, str(inputs)

    def _bring(self, run_id: str, edge: Any) -> Any:
        if edge.artifact is not None:
            return edge.artifact.inline
        replay, index = self._replays[run_id], edge.source
        while replay.states[index] != "succeeded":
            index = replay.plan[index].alternative
        return self._outputs(run_id, index)[edge.source_port]

    def _outputs(self, run_id: str, index: int) -> list[Any]:
        n_outputs = self._replays[run_id].plan[index].n_outputs
        keys = [(run_id, index, port) for port in range(n_outputs)]
        return [msgspec.json.decode(self._tables.artifacts[key].ref)["inline"] for key in keys]
