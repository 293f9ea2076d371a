"""Every error leaves as a problem: ours, those of the layers below, and those nobody foresaw."""

from __future__ import annotations

import logging
import re
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from dag_engine.api.answers import error_answer, problem_answer, request_id
from dag_engine.api.bodies import as_dict
from dag_engine.api.errors import ApiError
from dag_engine.core.errors import CoreError, MissingArtifactsError, ProblemsError
from dag_engine.storage.errors import StorageError

log = logging.getLogger(__name__)

_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_content_type",
}
_DETAILS = {
    404: "Nothing is found at this address; /docs lists every call.",
    405: "This address does not take this method.",
    413: "The body is larger than this call takes.",
}


def install_error_handlers(app: Flask) -> None:
    """Register the handlers with an application."""
    app.register_error_handler(ApiError, _answer_api_error)
    app.register_error_handler(CoreError, _answer_core_error)
    app.register_error_handler(StorageError, _answer_storage_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(Exception, _answer_unforeseen)


def _answer_api_error(error: ApiError) -> Response:
    _log_refusal(error.status, error.code)
    return error_answer(error)


def _answer_core_error(error: CoreError) -> Response:
    problems: list[dict[str, Any]] = []
    code = "refused"
    if isinstance(error, ProblemsError):
        problems = [as_dict(problem) for problem in error.problems]
        codes = {problem.code for problem in error.problems}
        code = codes.pop() if len(codes) == 1 else "invalid_dag"
    elif isinstance(error, MissingArtifactsError):
        code = "missing_artifacts"
        problems = [
            {"code": code, "message": what, "operator": operator}
            for operator, what in error.lacking.items()
        ]
    _log_refusal(error.http_status, code)
    return problem_answer(error.http_status, code, str(error), problems=problems)


def _answer_storage_error(error: StorageError) -> Response:
    if error.status >= 500 and error.status != 503:
        return _answer_unforeseen(error)
    _log_refusal(error.status, error.code, str(error))
    headers = {"Retry-After": "2"} if error.status == 503 else None
    return problem_answer(error.status, error.code, error.public_text, headers=headers)


def _log_refusal(status: int, code: str, detail: str = "") -> None:
    log.log(
        logging.WARNING if status >= 500 else logging.INFO,
        "request_refused request_id=%s method=%s path=%r status=%d code=%s detail=%r",
        request_id(),
        request.method,
        request.path,
        status,
        code,
        detail,
    )


def _answer_http_error(error: HTTPException) -> Response:
    status = error.code or 500
    headers = {"Allow": ", ".join(sorted(getattr(error, "valid_methods", None) or ()))}
    return problem_answer(
        status,
        _CODES.get(status) or re.sub(r"\W+", "_", error.name.lower()),
        _DETAILS.get(status) or error.description or error.name,
        headers=headers if status == 405 else None,
    )


def _answer_unforeseen(error: Exception) -> Response:
    log.error(
        "request_failed request_id=%s method=%s path=%r",
        request_id(),
        request.method,
        request.path,
        exc_info=error,
    )
    return problem_answer(
        500,
        "internal",
        "The request failed by a fault of the service; its log tells more under this request_id.",
    )
