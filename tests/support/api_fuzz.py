"""Sends drawn data to every operation of the OpenAPI description, sound and unsound."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS
from schemathesis.generation import GenerationMode

from tests.support.api_rig import ApiRig

_ALWAYS = ("content_type_conformance", "response_schema_conformance", "status_code_conformance")
_UNSOUND = ("negative_data_rejection",)
_WAITS = "wait_s"


def fill(rig: ApiRig) -> dict[str, Any]:
    """Put something behind the ids, so that not every call answers 404; give the ids."""
    run_id = rig.start("a", "b<a", name="fuzzed")
    rig.play(run_id, "succeeded", a="succeeded", b="succeeded")
    added = rig.client.post(
        "/api/v1/datasets",
        data={"id": "known", "file": (io.BytesIO(b"a,b\n1,2\n"), "a.csv")},
    )
    assert added.status_code == 201, added.text
    run = rig.client.get(f"/api/v1/runs/{run_id}").get_json()
    return {
        "run_id": run_id,
        "dag_id": run["dag_id"],
        "dataset_id": "known",
        "operator": "a",
        "attempt": 1,
        "version": 1,
        "port": 0,
        "engine_id": "engine-甲",
        "name": "noop",
    }


def find_operations(rig: ApiRig) -> Iterator[Any]:
    """Yield every operation of the description."""
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", rig.app)
    for result in schema.get_all_operations():
        yield result.ok()


def can_be_unsound(operation: Any) -> bool:
    """Tell whether anything of an operation is described so that other data can be drawn."""
    described = operation.definition.raw
    media = described.get("requestBody", {}).get("content", {}).values()
    return any("schema" in one for one in media) or any(
        parameter["in"] == "query" or parameter.get("schema", {}).get("type") == "integer"
        for parameter in described.get("parameters", [])
    )


def fuzz(
    operation: Any, mode: GenerationMode, n_examples: int, known: dict[str, Any] | None = None
) -> None:
    """Send drawn data to one operation; fail at the first answer that is not as described.

    Half of the sound requests are about the ids that are `known`.
    """
    is_unsound = mode is GenerationMode.NEGATIVE
    # a check of a file that is not sound is answered 200, and says so
    is_refused = is_unsound and not operation.path.endswith(":validate")
    names = _ALWAYS + (_UNSOUND if is_refused else ())
    checks = CHECKS.get_by_names(list(names))
    checks_of_nothing = CHECKS.get_by_names(list(_ALWAYS))
    strategy = operation.as_strategy(generation_mode=mode)

    @given(case=strategy, is_known=st.booleans())
    @settings(
        max_examples=n_examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any, is_known: bool) -> None:
        if is_known and not is_unsound:
            for name in set(case.path_parameters or {}) & (known or {}).keys():
                case.path_parameters[name] = (known or {})[name]
        if case.query and _WAITS in case.query:
            case.query[_WAITS] = 0
        reply = case.call()
        check_status(reply)
        is_lost = case.method == "GET" and loses_its_query(case.query)
        case.validate_response(reply, checks=checks_of_nothing if is_lost else checks)

    send()


def loses_its_query(query: Any) -> bool:
    """Tell whether a query says nothing once it is written out: an empty text where a list belongs
    is the empty list then, and of an empty object nothing is left.
    """
    return bool(query) and all(
        value is None or (isinstance(value, str | list | dict) and not value)
        for value in query.values()
    )


def check_status(reply: Any) -> None:
    """No fault of ours; what is away says when to come again."""
    is_away = reply.status_code == 503 and reply.headers.get("retry-after")
    assert reply.status_code < 500 or is_away, (reply.status_code, reply.text[:2000])
