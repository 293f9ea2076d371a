"""How answers are written: JSON in UTF-8, lists by page, problems after RFC 9457."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from flask import Response, g

from dag_engine.api.errors import ApiError

PROBLEM_TYPE = "application/problem+json"
_encoder = msgspec.json.Encoder()


def request_id() -> str:
    """Return the id under which this request is logged."""
    return str(g.get("request_id", ""))


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON; moments become RFC 3339, Chinese text stays as it is."""
    return Response(
        _encoder.encode(value), status, headers=headers, content_type="application/json"
    )


def page_answer(
    rows: Sequence[Any], next_cursor: str | None, view: Callable[[Any], Any]
) -> Response:
    """Answer with one page of a list."""
    return json_answer({"items": [view(row) for row in rows], "next_cursor": next_cursor})


def problem_answer(
    status: int,
    code: str,
    detail: str,
    *,
    hint: str = "",
    problems: Iterable[dict[str, Any]] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """Answer with a problem (RFC 9457)."""
    body: dict[str, Any] = {
        "type": f"urn:dagengine:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    if hint:
        body["hint"] = hint
    body["errors"] = list(problems)
    body["request_id"] = request_id()
    return Response(_encoder.encode(body), status, headers=headers, content_type=PROBLEM_TYPE)


def error_answer(error: ApiError) -> Response:
    """Answer with an error of ours."""
    return problem_answer(
        error.status,
        error.code,
        error.detail,
        hint=error.hint,
        problems=error.problems,
        headers=error.headers,
    )
