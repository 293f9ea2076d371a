"""How a run comes to be: planned, with what is reused, accepted in one transaction, hinted at."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from flask import Response

from dag_engine.api.access import caller
from dag_engine.api.answers import json_answer
from dag_engine.api.calls import API_PREFIX
from dag_engine.api.documents import Known
from dag_engine.api.errors import ConflictError, UnprocessableError
from dag_engine.api.foresight import foresee_hits
from dag_engine.api.services import Services
from dag_engine.api.sources import set_reach
from dag_engine.api.views import show_plan, show_run
from dag_engine.core.dagfile import DagDocument, find_dataset_ids
from dag_engine.core.plan import Plan, Reused
from dag_engine.core.planning import Draft, Selection, complete_plan, draft_plan
from dag_engine.core.states import FINAL_RUN_STATES
from dag_engine.storage import idempotency as stored_idempotency
from dag_engine.storage import runs as stored_runs
from dag_engine.storage import tasks as stored_tasks
from dag_engine.storage.rows import IdempotencyKey, NewDag, NewRun, RunRecord
from executors.base import DatasetRef

Range = Literal["all", "from", "to", "only", "children", "failed"]


class StartOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to run of a definition, and how."""

    range: Range = "all"
    operators: list[str] = []
    params: dict[str, dict[str, Any]] = {}
    base_run: str | None = None
    dry_run: bool = False
    priority: Annotated[int, msgspec.Meta(ge=-100, le=100)] = 0
    version: Annotated[int, msgspec.Meta(ge=1, le=999_999_999)] | None = None

    def asked(self) -> dict[str, Any]:
        """Return what is kept with the run for people."""
        return {"operators": self.operators, "params": self.params}


class BaseRun:
    """The former run that a new one follows."""

    def __init__(self, services: Services, run_id: str) -> None:
        database = services.database
        self.run = stored_runs.get_run(database, caller().namespace, run_id)
        if self.run.state not in FINAL_RUN_STATES:
            raise ConflictError(
                "base_run_not_over",
                f"The run {run_id} is {self.run.state}; only a run that is over can be followed.",
            )
        self.plan = services.plans.get(caller().namespace, run_id)
        self.unfinished = stored_tasks.list_unfinished_operators(
            database, caller().namespace, run_id
        )

    def seeds(self) -> dict[str, int]:
        """Return the seeds that its tasks had."""
        return {task.operator: task.seed for task in self.plan.tasks}

    def datasets(self) -> dict[str, DatasetRef]:
        """Return the dataset versions that it was pinned to."""
        return {name: ref for task in self.plan.tasks for name, ref in task.datasets.items()}

    def lineage(self) -> list[str]:
        """Return the runs whose results it stood on, its own first."""
        return list(dict.fromkeys([self.run.id, *(reused.run_id for reused in self.plan.reused)]))


def make_plan(
    services: Services, document: DagDocument, options: StartOptions, known: Known
) -> Plan:
    """Plan a run; raises with all problems, or with what a range lacks."""
    base = BaseRun(services, options.base_run) if options.base_run else None
    if options.range == "failed" and base is None:
        raise UnprocessableError(
            "base_run_missing",
            "The range 'failed' needs the run whose failed operators are meant.",
            "Name it as base_run, or POST /runs/{id}:retry.",
        )
    repeats = base if base is not None and options.range == "failed" else None
    draft = draft_plan(
        document,
        known.catalogue,
        defaults=services.config.run_defaults,
        datasets=_pin_datasets(
            services,
            known,
            find_dataset_ids(document, known.catalogue, options.params),
            repeats,
        ),
        seeds=random.SystemRandom(),
        selection=Selection(options.range, options.operators, base.unfinished if base else ()),
        params=options.params,
        kept_seeds=repeats.seeds() if repeats else None,
        sealed=known.sealed,
    )
    return complete_plan(draft, _find_former(services, draft, base))


def _pin_datasets(
    services: Services, known: Known, dataset_ids: set[str], base: BaseRun | None
) -> Mapping[str, DatasetRef]:
    """Choose the versions: those of the run that is repeated, else the latest."""
    found = base.datasets() if base else {}
    found = known.find_datasets(dataset_ids - found.keys()) | found
    config = services.config
    return {
        name: set_reach(ref, config.dataset_roots, config.private_hosts)
        for name, ref in found.items()
    }


def _find_former(services: Services, draft: Draft, base: BaseRun | None) -> dict[str, Reused]:
    """Find former results: of the base run and of what it stood on first, else the newest."""
    if not draft.needed:
        return {}
    found = stored_tasks.find_reusable(
        services.database,
        caller().namespace,
        draft.needed.values(),
        runs=base.lineage() if base else (),
    )
    return {
        operator: msgspec.structs.replace(found[mark], operator=operator)
        for operator, mark in draft.needed.items()
        if mark in found
    }


def find_started(services: Services, key: IdempotencyKey | None) -> Response | None:
    """Answer a request that was carried out before under the same key."""
    if key is None:
        return None
    run_id = stored_idempotency.find_subject(services.database, caller().namespace, key)
    if run_id is None:
        return None
    return answer_started(stored_runs.get_run(services.database, caller().namespace, run_id))


def accept(
    services: Services,
    new: NewRun,
    key: IdempotencyKey | None,
    definition: NewDag | None = None,
) -> Response:
    """Accept a run, with its definition where that is new, note it for the scheduler, and answer
    202.
    """
    accepted = stored_runs.accept_run(
        services.database, new, definition=definition, idempotency_key=key
    )
    if accepted.is_new:
        services.flood.note_start(new.namespace)
        services.plans.note_new(new.namespace, accepted.run.id, new.plan)
        services.hints.note(accepted.run.id)
    return answer_started(accepted.run)


def answer_started(run: RunRecord) -> Response:
    """Answer 202 with the run and its address."""
    return json_answer(show_run(run), 202, {"Location": f"{API_PREFIX}/runs/{run.id}"})


def answer_plan(services: Services, plan: Plan) -> Response:
    """Answer a dry run: what would run, in which order, what is reused, and what is cached."""
    return json_answer(show_plan(plan, foresee_hits(services, plan)))
