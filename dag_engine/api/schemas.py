"""JSON Schemas of what the API takes and answers."""

from __future__ import annotations

from typing import Any

from dag_engine.core.access import TOKEN_ROLES
from dag_engine.core.names import NAME_RULE
from dag_engine.core.states import RunState, TaskState

RANGES = ("all", "from", "to", "only", "children", "failed")

_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}
_TRUTH = {"type": "boolean"}
_FREE = {"type": "object"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_MAYBE_WHOLE = {"type": ["integer", "null"]}
_MOMENT = {"type": "string", "format": "date-time"}
_MAYBE_MOMENT = {"type": ["string", "null"], "format": "date-time"}
_COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}


def _object(about: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "description": about, "properties": properties}


def _answer(about: str, *optional: str, **properties: Any) -> dict[str, Any]:
    """Describe an object that is answered: it has all of these but for the optional ones."""
    required = [name for name in properties if name not in optional]
    return {**_object(about, **properties), "required": required}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _one_of(words: list[str]) -> dict[str, Any]:
    return {"type": "string", "enum": words}


def _see(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


_MAYBE_SOURCE = {
    "type": ["object", "null"],
    "properties": {"run_id": _TEXT, "operator": _TEXT, "attempt": _WHOLE},
}
# In words: a pattern's \w means letters of every script in Python, and ASCII in JSON Schema.
_SEALED_NAME = {
    "type": "string",
    "minLength": 1,
    "maxLength": 128,
    "description": f"Of any script: {NAME_RULE}.",
}
_RUN_STATE = _one_of([state.value for state in RunState])
_TASK_STATE = _one_of([state.value for state in TaskState])

SCHEMAS: dict[str, Any] = {
    "Problem": _object(
        "What went wrong (RFC 9457).",
        type=_TEXT,
        title=_TEXT,
        status=_WHOLE,
        code=_TEXT,
        detail=_TEXT,
        hint=_TEXT,
        errors=_list(_see("SingleProblem")),
        request_id=_TEXT,
    ),
    "SingleProblem": _object(
        "One of several problems, with its place.",
        code=_TEXT,
        message=_TEXT,
        operator=_MAYBE_TEXT,
        port=_MAYBE_WHOLE,
        pointer={"type": "string", "format": "json-pointer"},
        line=_MAYBE_WHOLE,
        column=_MAYBE_WHOLE,
        hint=_TEXT,
    ),
    "DagFile": _object("A DAG as the front end posts it, in YAML or JSON.", dag=_FREE),
    "Validation": _answer(
        "What a check found.", valid=_TRUTH, problems=_list(_see("SingleProblem"))
    ),
    "Dag": _answer(
        "A stored definition; `dag` holds its content where one is asked for.",
        "dag",
        id=_TEXT,
        name=_TEXT,
        description=_TEXT,
        version=_WHOLE,
        digest=_TEXT,
        n_versions=_WHOLE,
        n_operators=_WHOLE,
        n_edges=_WHOLE,
        created_at=_MOMENT,
        updated_at=_MOMENT,
        dag=_FREE,
    ),
    "DagVersion": _answer(
        "One immutable version of a definition.",
        "dag",
        id=_TEXT,
        version=_WHOLE,
        name=_TEXT,
        description=_TEXT,
        digest=_TEXT,
        n_operators=_WHOLE,
        n_edges=_WHOLE,
        created_at=_MOMENT,
        dag=_FREE,
    ),
    "Start": _object(
        "What to run of a definition, and how.",
        range={"type": "string", "enum": list(RANGES), "default": "all"},
        operators=_list(_TEXT),
        params={"type": "object", "additionalProperties": _FREE},
        base_run=_MAYBE_TEXT,
        dry_run=_TRUTH,
        priority={"type": "integer", "minimum": -100, "maximum": 100},
        version=_MAYBE_WHOLE,
    ),
    "Run": _answer(
        "One execution of a definition, or of a range of it.",
        id=_TEXT,
        dag_id=_TEXT,
        dag_version=_WHOLE,
        dag_name=_TEXT,
        state=_RUN_STATE,
        reason=_TEXT,
        message=_TEXT,
        range=_one_of(list(RANGES)),
        operators=_list(_TEXT),
        base_run=_MAYBE_TEXT,
        priority=_WHOLE,
        created_at=_MOMENT,
        started_at=_MAYBE_MOMENT,
        ended_at=_MAYBE_MOMENT,
        n_tasks=_WHOLE,
        tasks=_COUNTS,
        last_event=_WHOLE,
        url=_TEXT,
    ),
    "Plan": _answer(
        "What a run would do: the operators in their order, and what is reused and from where.",
        order=_list(_TEXT),
        tasks=_list(
            _answer(
                "",
                operator=_TEXT,
                algorithm=_TEXT,
                executor=_TEXT,
                title=_TEXT,
                upstream=_list(_TEXT),
                queue=_TEXT,
                priority=_WHOLE,
                cache=_TEXT,
                is_alternative=_TRUTH,
                hit=_MAYBE_SOURCE,
            )
        ),
        reused=_list(
            _answer("", operator=_TEXT, run_id=_TEXT, attempt=_WHOLE, outputs=_list(_see("Output")))
        ),
    ),
    "Output": _answer(
        "What an output port holds.",
        port=_WHOLE,
        type=_TEXT,
        rows=_MAYBE_WHOLE,
        bytes=_WHOLE,
        sha256=_TEXT,
        columns=_list(_answer("", name=_TEXT, type=_TEXT)),
    ),
    "Task": _answer(
        "One operator in one run; `attempts` stand where one task is asked for.",
        "hint",
        "params",
        "attempts",
        operator=_TEXT,
        index=_WHOLE,
        title=_TEXT,
        algorithm=_TEXT,
        executor=_TEXT,
        state=_TASK_STATE,
        reason=_TEXT,
        message=_TEXT,
        hint=_TEXT,
        attempt=_WHOLE,
        engine=_MAYBE_TEXT,
        queue=_TEXT,
        priority=_WHOLE,
        upstream=_list(_TEXT),
        not_before=_MAYBE_MOMENT,
        started_at=_MAYBE_MOMENT,
        ended_at=_MAYBE_MOMENT,
        progress={"type": ["object", "null"]},
        metrics={"type": "object", "additionalProperties": {"type": "number"}},
        outputs=_list(_see("Output")),
        seed=_WHOLE,
        params=_FREE,
        attempts=_list(_see("Attempt")),
    ),
    "CacheStory": _answer(
        "What the cache had for a task, and in what its key differs from the nearest former one's.",
        cache=_one_of(["use", "refresh", "off"]),
        verdict=_one_of(["hit", "gone", "miss", "refresh", "off", "open"]),
        message=_TEXT,
        source=_MAYBE_SOURCE,
        nearest=_MAYBE_SOURCE,
        differences=_list(
            _answer("", part=_TEXT, name=_TEXT, now=_TEXT, former=_TEXT, message=_TEXT)
        ),
    ),
    "Attempt": _answer(
        "One try at a task.",
        attempt=_WHOLE,
        state=_TEXT,
        reason=_TEXT,
        message=_TEXT,
        hint=_TEXT,
        traceback=_TEXT,
        engine=_TEXT,
        worker=_TEXT,
        queued_at=_MAYBE_MOMENT,
        started_at=_MAYBE_MOMENT,
        ended_at=_MAYBE_MOMENT,
        exit_code=_MAYBE_WHOLE,
        signal=_MAYBE_WHOLE,
        log_bytes=_WHOLE,
    ),
    "LogChunk": _answer(
        "A piece of a log.",
        text=_TEXT,
        offset=_WHOLE,
        next_offset=_WHOLE,
        size_bytes=_WHOLE,
        is_complete=_TRUTH,
    ),
    "Preview": _object(
        "The first rows of a table; of a report or model its `value`.",
        type=_TEXT,
        value={},
        columns=_list(_answer("", name=_TEXT, type=_TEXT)),
        rows=_list({"type": "array"}),
        n_rows=_MAYBE_WHOLE,
        is_truncated=_TRUTH,
    ),
    "Event": _answer(
        "One entry of a run's history.",
        seq=_WHOLE,
        at=_MOMENT,
        kind=_TEXT,
        operator=_MAYBE_TEXT,
        attempt=_WHOLE,
        **{"from": _TEXT},
        to=_TEXT,
        reason=_TEXT,
        message=_TEXT,
    ),
    "Algorithm": _answer(
        "What can be run: ports, parameters and documentation.",
        "doc",
        "params_schema",
        "deprecated_params",
        name=_TEXT,
        title=_TEXT,
        title_zh=_TEXT,
        family=_TEXT,
        version=_TEXT,
        code_version=_TEXT,
        doc=_TEXT,
        inputs=_list(_see("Port")),
        outputs=_list(_see("Port")),
        params_schema=_FREE,
        deprecated_params=_list(_TEXT),
        is_cacheable=_TRUTH,
    ),
    "Port": _answer(
        "An input or output of an algorithm.",
        name=_TEXT,
        type=_TEXT,
        is_optional=_TRUTH,
        is_many=_TRUTH,
    ),
    "Executor": _answer(
        "A back end that runs tasks, and the operator engines that have it.",
        "operator_engines",
        name=_TEXT,
        data_types=_list(_TEXT),
        slots=_WHOLE,
        kind=_TEXT,
        operator_engines=_list(_answer("", id=_TEXT, is_alive=_TRUTH, slots=_WHOLE)),
    ),
    "OperatorEngine": _answer(
        "An operator engine as it last registered.",
        id=_TEXT,
        url=_TEXT,
        host=_TEXT,
        version=_TEXT,
        is_alive=_TRUTH,
        labels={"type": "object", "additionalProperties": _TEXT},
        slots=_WHOLE,
        executors=_list(_see("Executor")),
        registered_at=_MAYBE_MOMENT,
        heartbeat_at=_MAYBE_MOMENT,
    ),
    "Dataset": _answer(
        "A registered data source; `versions` stand where one is asked for.",
        "versions",
        "next_cursor",
        id=_TEXT,
        name=_TEXT,
        version=_WHOLE,
        uri=_TEXT,
        filename=_TEXT,
        format=_TEXT,
        bytes=_WHOLE,
        sha256=_TEXT,
        options=_FREE,
        is_in_place=_TRUTH,
        rows=_MAYBE_WHOLE,
        columns=_list(_answer("", name=_TEXT, type=_TEXT)),
        inspection=_TEXT,
        inspection_error=_TEXT,
        created_at=_MOMENT,
        updated_at=_MOMENT,
        versions=_list(_see("DatasetVersion")),
        next_cursor=_MAYBE_TEXT,
    ),
    "DatasetVersion": _answer(
        "One immutable version of a dataset.",
        version=_WHOLE,
        uri=_TEXT,
        filename=_TEXT,
        format=_TEXT,
        bytes=_WHOLE,
        sha256=_TEXT,
        options=_FREE,
        is_in_place=_TRUTH,
        rows=_MAYBE_WHOLE,
        columns=_list(_answer("", name=_TEXT, type=_TEXT)),
        inspection=_TEXT,
        inspection_error=_TEXT,
        created_at=_MOMENT,
    ),
    "DatasetUpload": {
        "type": "object",
        "description": "A file; under an id that exists it becomes a new version.",
        "properties": {
            "file": {"type": "string", "contentMediaType": "application/octet-stream"},
            "id": _TEXT,
            "name": _TEXT,
            "format": _TEXT,
        },
        "required": ["file"],
    },
    "DatasetInPlace": {
        "type": "object",
        "description": "What lies already below a root that the configuration allows.",
        "properties": {
            "uri": _TEXT,
            "id": _TEXT,
            "name": _TEXT,
            "format": _TEXT,
            "options": _FREE,
        },
        "required": ["uri"],
        "additionalProperties": False,
    },
    "SealedEntry": _answer(
        "A named connection or secret: all but what it holds.",
        name=_TEXT,
        source=_one_of(["stored", "configuration"]),
        key_id=_MAYBE_TEXT,
        created_by=_TEXT,
        created_at=_MAYBE_MOMENT,
        updated_at=_MAYBE_MOMENT,
    ),
    "NewConnection": {
        "type": "object",
        "description": "A connection: its URL, or settings with `url` or the parts of one.",
        "properties": {
            "name": _SEALED_NAME,
            "url": {"type": "string", "format": "password", "writeOnly": True},
            "settings": {"type": "object", "writeOnly": True},
        },
        "required": ["name"],
        "additionalProperties": False,
    },
    "NewSecret": {
        "type": "object",
        "description": "A secret and its name.",
        "properties": {
            "name": _SEALED_NAME,
            "value": {"type": "string", "format": "password", "writeOnly": True, "minLength": 1},
        },
        "required": ["name", "value"],
        "additionalProperties": False,
    },
    "Caller": _object(
        "Who calls, as which role, and in which namespace.",
        name=_TEXT,
        role=_one_of(list(TOKEN_ROLES)),
        namespace=_TEXT,
    ),
    "Health": _object(
        "The components with their last sign of life.",
        status=_TEXT,
        components=_list(
            _object(
                "One of them; `hint` names the cure of what `detail` tells.",
                kind=_TEXT,
                instance=_TEXT,
                status=_TEXT,
                detail=_TEXT,
                hint=_TEXT,
                since=_MOMENT,
            )
        ),
    ),
    "StoreSettings": _object(
        "Where artifacts are kept, and the mark by which the store is known.",
        store_url=_TEXT,
        store_marker=_TEXT,
    ),
    "Version": _object("The program's version.", name=_TEXT, version=_TEXT, api=_TEXT),
}
