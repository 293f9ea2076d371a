"""Why a task's result came from the cache, or why it did not."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Response

from dag_engine.api.access import caller
from dag_engine.api.answers import json_answer
from dag_engine.api.calls import Answer, Query, Resource
from dag_engine.api.services import Services, services
from dag_engine.core.access import Role
from dag_engine.core.differences import Difference, list_differences
from dag_engine.core.plan import Plan, PlannedTask
from dag_engine.core.states import FINAL_TASK_STATES
from dag_engine.core.work_keys import Inputs, make_work_keys
from dag_engine.storage import reuse as stored
from dag_engine.storage import runs as stored_runs
from dag_engine.storage import tasks as stored_tasks
from dag_engine.storage.errors import NotFoundError
from dag_engine.storage.reuse import FormerTask
from dag_engine.storage.rows import RunRecord, TaskRecord

cache_story = Resource("cache_story", "Runs")


@cache_story.call(
    "GET",
    "/runs/<word:run_id>/tasks/<word:operator>/cache",
    {200: Answer("What the cache had for it.", "CacheStory")},
    role=Role.VIEWER,
)
def get_cache_story(query: Query, run_id: str, operator: str) -> Response:
    """Tell whether a former result stands in for a task; if not, which part of its key differs.

    The key is the algorithm with its code version, the parameters with the seed, the inputs, and
    the versions of data sets and connections. It is compared with that of the nearest former task.
    """
    here = services()
    task = stored_tasks.get_task(here.database, caller().namespace, run_id, operator)
    plan = here.plans.get(caller().namespace, run_id)
    planned = plan.tasks[task.index]
    story = _tell(here, task, plan)
    return json_answer(
        {"cache": planned.cache, "source": None, "nearest": None, "differences": []} | story
    )


def _tell(here: Services, task: TaskRecord, plan: Plan) -> dict[str, Any]:
    planned = plan.tasks[task.index]
    finding = stored.get_finding(here.database, caller().namespace, task.run_id, task.index)
    if finding is not None:
        source = {
            "run_id": finding.source_run,
            "operator": _name_operator(here, finding.source_run, finding.source_index),
            "attempt": finding.source_attempt,
        }
        if finding.verdict == "hit" and task.reason_code == "cached":
            text = "The result of an equal task was there already."
            return {"verdict": "hit", "message": text, "source": source}
        text = "The result of an equal task was known, but it is not there as it was stored."
        return {"verdict": "gone", "message": f"{text} {finding.detail}", "source": source}
    if planned.cache != "use" or not planned.work_base:
        return _tell_unused(here, planned)
    if task.state in FINAL_TASK_STATES and not task.attempt:
        return {"verdict": "open", "message": "It ended before it was computed."}
    inputs = _load_inputs(here, task.run_id, plan, planned)
    if inputs is None:
        text = "Nothing has been looked up yet: the operators above it have not all succeeded."
        return {"verdict": "open", "message": text}
    return _tell_miss(here, task, planned, inputs)


def _name_operator(here: Services, run_id: str, index: int) -> str:
    try:
        return here.plans.get(caller().namespace, run_id).tasks[index].operator
    except NotFoundError:  # the run was deleted by the policy of retention
        return ""


def _tell_unused(here: Services, planned: PlannedTask) -> dict[str, Any]:
    offer = here.catalogue().algorithms.get(planned.algorithm)
    if planned.cache == "refresh":
        text = "With cache: refresh it is computed in any case, and its result is kept for others."
        return {"verdict": "refresh", "message": text}
    if planned.cache == "use":
        text = (
            "What it reads is not pinned: a data set without a digest, or a connection or secret "
            "whose version is not known."
        )
    elif offer is not None and not offer.is_cacheable:
        text = f"The algorithm {planned.algorithm} declares that its results are no others' use."
    else:
        text = "With cache: off nothing is looked up, and nothing is kept."
    return {"verdict": "off", "message": text}


def _tell_miss(
    here: Services, task: TaskRecord, planned: PlannedTask, inputs: Inputs
) -> dict[str, Any]:
    run = stored_runs.get_run(here.database, caller().namespace, task.run_id)
    found = _find_nearest(here, run, planned, inputs)
    if found is None:
        text = f"No former run has a result of an operator {planned.operator} to compare with."
        return {"verdict": "miss", "message": text}
    nearest, former, differences = found
    if differences:
        parts = "; ".join(one.message for one in differences)
        text = f"Compared with run {nearest.run_id}: {parts}."
    elif former.cache == "off":
        text = f"The equal task of run {nearest.run_id} ran with cache: off, so nothing was kept."
    else:
        text = (
            f"Run {nearest.run_id} has an equal task by now. Its result was not there when this "
            "one was looked up."
        )
    return {
        "verdict": "miss",
        "message": text,
        "nearest": {
            "run_id": nearest.run_id,
            "operator": former.operator,
            "attempt": nearest.attempt,
        },
        "differences": [asdict(one) | {"message": one.message} for one in differences],
    }


def _find_nearest(
    here: Services, run: RunRecord, planned: PlannedTask, inputs: Inputs
) -> tuple[FormerTask, PlannedTask, list[Difference]] | None:
    """Find the former task that differs in the fewest parts; of several the newest. Runs that the
    policy of retention deletes meanwhile are passed over.
    """
    namespace = caller().namespace
    best: tuple[FormerTask, PlannedTask, list[Difference]] | None = None
    for former in stored.find_former_tasks(
        here.database, namespace, planned.operator, before=run.id, dag_id=run.dag_id
    ):
        try:
            plan = here.plans.get(namespace, former.run_id)
        except NotFoundError:
            continue
        other = plan.tasks[former.index]
        brought = _load_inputs(here, former.run_id, plan, other)
        if brought is None:
            continue
        keys = make_work_keys(other, brought)
        entries = stored.find_entries(here.database, [(namespace, keys.seeded)])
        differences = list_differences(planned, inputs, other, brought, has_read_seed=bool(entries))
        if best is None or len(differences) < len(best[2]):
            best = former, other, differences
    return best


def _load_inputs(here: Services, run_id: str, plan: Plan, planned: PlannedTask) -> Inputs | None:
    """Load what the input ports of a task bring; None where that is not all there."""
    wanted: set[int] = set()
    chains: dict[int, list[int]] = {}
    for source in planned.upstream:
        chain = [source]
        while (alternative := plan.tasks[chain[-1]].alternative) is not None:
            chain.append(alternative)
        chains[source] = chain
        wanted.update(chain)
    outputs = stored.load_outputs(here.database, caller().namespace, run_id, wanted)
    inputs: Inputs = []
    for port in planned.inputs:
        inputs.append([])
        for edge in port:
            if edge.artifact is not None:
                inputs[-1].append(edge.artifact)
                continue
            assert edge.source is not None, "what is no artifact comes from a task of the run"
            brought = next((outputs[i] for i in chains[edge.source] if i in outputs), [])
            if edge.source_port >= len(brought):
                return None
            inputs[-1].append(brought[edge.source_port])
    return inputs
