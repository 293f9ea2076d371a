"""Starting runs: of a stored definition, or of a DAG file that is posted with the request."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response

from dag_engine.api import calls
from dag_engine.api.access import caller
from dag_engine.api.bodies import DAG_LIMIT_BYTES, dag_media_type, read_body, read_json
from dag_engine.api.calls import JSON, Answer, Body, Query, Resource
from dag_engine.api.documents import DAG_BODY, Known, check_document, describe_document
from dag_engine.api.errors import ConflictError, UnprocessableError
from dag_engine.api.idempotency import HEADER, make_key, read_key
from dag_engine.api.schemas import RANGES
from dag_engine.api.services import Services, services
from dag_engine.api.starting import (
    StartOptions,
    accept,
    answer_plan,
    find_started,
    make_plan,
)
from dag_engine.core.access import Role
from dag_engine.core.states import FINAL_RUN_STATES, RunState
from dag_engine.storage import dags as stored_dags
from dag_engine.storage import runs as stored_runs
from dag_engine.storage.rows import IdempotencyKey, NewRun

starts = Resource("starts", "Runs")
_STARTED = {
    202: Answer("The run, accepted; Location names it.", "Run"),
    200: Answer("A dry run: the plan.", "Plan"),
}
_OPTIONS = (
    calls.choice("range", "Which part of the DAG to run.", RANGES, "all"),
    calls.words("operators", "The operators that the range is about."),
    calls.json_text("params", 'Parameters to override: {"operator": {"name": value}}.'),
    calls.text("base_run", "The former run whose results are used first."),
    calls.flag("dry_run", "Only tell what would run."),
    calls.integer("priority", "Higher runs first.", default=0, least=-100, most=100),
)


@starts.call(
    "POST", "/runs", _STARTED, query=_OPTIONS, body=DAG_BODY, headers=HEADER, role=Role.SUBMITTER
)
def start_file(query: Query) -> Response:
    """Store a DAG file and start it, in one call.

    The options are query parameters.
    """
    here = services()
    data, media_type = read_body(DAG_LIMIT_BYTES), dag_media_type()
    options = _convert_options(dict(query))
    key = read_key("start_file", options, media_type, body=data)
    with here.hints.gathered():
        return _start_document(here, data, media_type, options, key)


def _start_document(
    here: Services, data: bytes, media_type: str, options: StartOptions, key: IdempotencyKey | None
) -> Response:
    if (answer := _let_in(here, key, is_dry=options.dry_run)) is not None:
        return answer
    known = Known(here)
    document = check_document(here, data, media_type, known)
    plan = make_plan(here, document, options, known)
    if options.dry_run:
        return answer_plan(here, plan)
    new = NewRun(
        namespace=caller().namespace,
        plan=plan,
        name=document.name,
        priority=options.priority,
        range_mode=options.range,
        options=options.asked(),
        base_run=options.base_run,
        created_by=caller().mark,
    )
    return accept(here, new, key, describe_document(document))


@starts.call(
    "POST",
    "/dags/<word:dag_id>/runs",
    _STARTED,
    body=Body((JSON,), "Start", is_required=False),
    headers=HEADER,
    role=Role.SUBMITTER,
)
def start_dag(query: Query, dag_id: str) -> Response:
    """Start a stored definition, or a range of it."""
    here = services()
    options = read_json(StartOptions, may_be_empty=True)
    key = read_key("start_dag", dag_id, options)
    with here.hints.gathered():
        if (answer := _let_in(here, key, is_dry=options.dry_run)) is not None:
            return answer
        found = stored_dags.get_dag(here.database, caller().namespace, dag_id)
        version = options.version or found.current.version
        return _start_version(here, dag_id, version, options, key)


@starts.call(
    "POST", "/runs/<word:run_id>:retry", {202: _STARTED[202]}, headers=HEADER, role=Role.SUBMITTER
)
def retry_run(query: Query, run_id: str) -> Response:
    """Start a new run of what a run did not finish.

    It keeps dataset versions and seeds, and uses the results of what succeeded. Without an
    Idempotency-Key a repetition answers the run that the first call made.
    """
    here = services()
    key = read_key("retry_run", run_id) or make_key(f"retry:{run_id}", "retry_run", run_id)
    with here.hints.gathered():
        return _start_again(here, run_id, key)


def _start_again(here: Services, run_id: str, key: IdempotencyKey) -> Response:
    if (answer := _let_in(here, key)) is not None:
        return answer
    run = stored_runs.get_run(here.database, caller().namespace, run_id)
    if run.state not in FINAL_RUN_STATES or run.state == RunState.SUCCEEDED:
        raise ConflictError(
            "impossible",
            f"The run is {run.state}; only one that failed or was cancelled can be retried.",
        )
    options = StartOptions(
        range="failed",
        params=run.options.get("params", {}),
        base_run=run_id,
        priority=run.priority,
    )
    return _start_version(here, run.dag_id, run.dag_version, options, key)


def _let_in(here: Services, key: IdempotencyKey | None, *, is_dry: bool = False) -> Response | None:
    """Answer a repetition, which starts nothing; what would start a run passes the flood gate."""
    answer = find_started(here, key)
    if answer is None and not is_dry:
        here.flood.check(caller().namespace)
    return answer


def _start_version(
    here: Services, dag_id: str, version: int, options: StartOptions, key: IdempotencyKey | None
) -> Response:
    source = stored_dags.get_dag_source(here.database, caller().namespace, dag_id, version)
    known = Known(here)
    document = check_document(here, source.data, source.media_type, known)
    plan = make_plan(here, document, options, known)
    if options.dry_run:
        return answer_plan(here, plan)
    new = NewRun(
        namespace=caller().namespace,
        dag_id=dag_id,
        dag_version=version,
        plan=plan,
        name=document.name,
        priority=options.priority,
        range_mode=options.range,
        options=options.asked(),
        base_run=options.base_run,
        created_by=caller().mark,
    )
    return accept(here, new, key)


def _convert_options(query: dict[str, Any]) -> StartOptions:
    """Make options of query parameters; they are checked already, but for the shape of params."""
    try:
        return msgspec.convert(query, StartOptions)
    except msgspec.ValidationError as error:
        raise UnprocessableError(
            "bad_params", f"The query parameter params does not fit: {error}."
        ) from error
