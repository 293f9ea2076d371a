"""What a run would find in the cache if it were started now."""

from __future__ import annotations

from dag_engine.api.access import caller
from dag_engine.api.services import Services
from dag_engine.core.changes import Former
from dag_engine.core.plan import Plan, PlannedTask
from dag_engine.core.work_keys import Inputs, make_work_keys
from dag_engine.storage import reuse as stored
from executors.store import is_local


def foresee_hits(here: Services, plan: Plan) -> dict[int, Former]:
    """Tell which tasks of a plan would be taken from the cache now, by their index.

    What comes after a task that has to be computed is not known, for its input is not.
    """
    hits: dict[int, Former] = {}
    for tasks in _share_out(plan):
        keys = {}
        for task in tasks:
            inputs = _foresee_inputs(task, hits)
            if task.cache == "use" and task.work_base and inputs is not None:
                keys[task.index] = make_work_keys(task, inputs)
        names = [(caller().namespace, key) for pair in keys.values() for key in pair]
        found = stored.find_entries(here.database, names) if names else {}
        for index, pair in keys.items():
            former = next((found[n] for k in pair if (n := (caller().namespace, k)) in found), None)
            if former is not None and _is_there(former, here.config.store_url):
                hits[index] = former
    return hits


def _share_out(plan: Plan) -> list[list[PlannedTask]]:
    """Share tasks out by how many stand above them at most; alternatives are left out."""
    depths: dict[int, int] = {}
    shares: list[list[PlannedTask]] = []
    for task in plan.tasks:
        depth = 1 + max((depths.get(source, 0) for source in task.upstream), default=-1)
        depths[task.index] = depth
        shares += [[] for _ in range(depth + 1 - len(shares))]
        if not task.is_alternative:
            shares[depth].append(task)
    return shares


def _foresee_inputs(task: PlannedTask, hits: dict[int, Former]) -> Inputs | None:
    inputs: Inputs = []
    for port in task.inputs:
        inputs.append([])
        for edge in port:
            if edge.artifact is not None:
                inputs[-1].append(edge.artifact)
            elif edge.source in hits and edge.source_port < len(hits[edge.source].outputs):
                inputs[-1].append(hits[edge.source].outputs[edge.source_port])
            else:
                return None
    return inputs


def _is_there(former: Former, store_url: str) -> bool:
    """Look at what lies here; a store elsewhere is asked when it counts, and not for a forecast."""
    return not is_local(store_url) or not stored.find_fault(former, store_url)
