"""Previews of datasets: a worker reads the file in an internal run, the result is kept."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from dag_engine.api.access import caller
from dag_engine.api.errors import ConflictError, UnavailableError, UnprocessableError
from dag_engine.api.idempotency import make_key
from dag_engine.api.runs import wait_for_end
from dag_engine.api.services import Services
from dag_engine.api.sources import set_reach
from dag_engine.core.access import SYSTEM_NAMESPACE
from dag_engine.core.plan import Plan, PlannedTask
from dag_engine.core.states import FINAL_RUN_STATES, RunState
from dag_engine.storage import datasets as stored_datasets
from dag_engine.storage import idempotency as stored_idempotency
from dag_engine.storage import runs as stored_runs
from dag_engine.storage import tasks as stored_tasks
from dag_engine.storage.rows import DatasetVersionRecord, Inspection, NewRun, RunRecord
from executors.base import AlgorithmOffer
from executors.masking import hide_url_passwords
from executors.runtime.errors import InvalidInputError
from executors.runtime.preview import load_report

log = logging.getLogger(__name__)

ALGORITHM = "algo_internal_preview_dataset"
OPERATOR = "preview"
_ROWS = 50
_TIMEOUT_S = 300.0
_TRIES = 5
_PRIORITY = 100
_FAULTS_OF_THE_FILE = frozenset({"error", "invalid_input", "invalid_output"})


def preview_dataset(here: Services, version: DatasetVersionRecord, wait_s: float) -> dict[str, Any]:
    """Return the preview that is kept, or have it made and wait for it."""
    if version.inspection == "failed":
        raise _failed(version.inspection_error)
    kept = stored_datasets.load_preview(
        here.database, caller().namespace, version.dataset_id, version.version
    )
    if kept is not None:
        return dict(kept)
    run = _find_or_start(here, version)
    if run.state not in FINAL_RUN_STATES and wait_s:
        run = wait_for_end(here, SYSTEM_NAMESPACE, run.id, wait_s)
    if run.state not in FINAL_RUN_STATES:
        raise UnavailableError(
            "preview_pending", f"The preview is being made (it is {run.state}).", 2
        )
    return _take_result(here, version, run)


def _find_or_start(here: Services, version: DatasetVersionRecord) -> RunRecord:
    """Find the run that makes the preview; one that was lost with its worker is followed by
    another.
    """
    offer = here.catalogue().algorithms.get(ALGORITHM)
    if offer is None:
        raise UnavailableError(
            "no_preview_algorithm", "No operator engine that makes previews has registered.", 5
        )
    # the runs of all namespaces stand in one, and each has a dataset of this name perhaps
    owner = caller().namespace
    name = f"preview:{owner}:{version.dataset_id}:{version.version}:{offer.code_version}"
    run: RunRecord | None = None
    for number in range(_TRIES):
        digest = hashlib.sha256(f"{name}:{number}".encode()).hexdigest()
        key = make_key(f"preview:{digest}", "preview_dataset", name)
        subject = stored_idempotency.find_subject(here.database, SYSTEM_NAMESPACE, key)
        if subject is None:
            new = NewRun(
                namespace=SYSTEM_NAMESPACE,
                dag_id="",
                dag_version=0,
                plan=Plan(tasks=[_plan_task(here, version, offer)]),
                name=ALGORITHM,
                priority=_PRIORITY,
                is_internal=True,
            )
            run = stored_runs.accept_run(here.database, new, idempotency_key=key).run
            here.scheduler.hint([run.id])
            return run
        run = stored_runs.get_run(here.database, SYSTEM_NAMESPACE, subject)
        if not _was_lost(here, run):
            return run
    raise ConflictError("preview_failed", f"The preview was lost {_TRIES} times.")


def _plan_task(here: Services, version: DatasetVersionRecord, offer: AlgorithmOffer) -> PlannedTask:
    config = here.config
    ref = set_reach(stored_datasets.to_ref(version), config.dataset_roots, config.private_hosts)
    return PlannedTask(
        index=0,
        operator=OPERATOR,
        algorithm=offer.name,
        entry=offer.entry,
        code_version=offer.code_version,
        title=offer.title,
        executor=here.config.run_defaults.executor,
        params={"data_id": version.dataset_id, "limit": _ROWS},
        n_outputs=len(offer.outputs),
        timeout_s=_TIMEOUT_S,
        cache="off",
        datasets={version.dataset_id: ref},
    )


def _was_lost(here: Services, run: RunRecord) -> bool:
    """Tell whether it ended for a reason that has nothing to do with the file."""
    if run.state not in FINAL_RUN_STATES or run.state == RunState.SUCCEEDED:
        return False
    task = stored_tasks.get_task(here.database, SYSTEM_NAMESPACE, run.id, OPERATOR)
    return task.reason_code not in _FAULTS_OF_THE_FILE


def _take_result(here: Services, version: DatasetVersionRecord, run: RunRecord) -> dict[str, Any]:
    task = stored_tasks.get_task(here.database, SYSTEM_NAMESPACE, run.id, OPERATOR)
    if run.state != RunState.SUCCEEDED:
        _keep(here, version, Inspection(state="failed", error=task.reason))
        raise _failed(task.reason)
    try:
        preview: dict[str, Any] = load_report(task.outputs[0].ref, here.config.store_url)
    except InvalidInputError as error:
        raise UnavailableError("preview_gone", str(error), 5) from error
    found = Inspection(
        state="ready", schema=preview["columns"], preview=preview, row_count=preview["rows"]
    )
    _keep(here, version, found)
    return preview


def _keep(here: Services, version: DatasetVersionRecord, found: Inspection) -> None:
    try:
        stored_datasets.set_inspection(
            here.database, caller().namespace, version.dataset_id, version.version, found
        )
    except ValueError as cause:
        log.warning("preview_not_kept dataset_id=%s detail=%s", version.dataset_id, cause)


def _failed(why: str) -> UnprocessableError:
    return UnprocessableError(
        "preview_failed",
        f"The dataset cannot be read: {hide_url_passwords(why)}",
        "Upload it again as it should be.",
    )
