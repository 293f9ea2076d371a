"""What tasks leave behind: logs, and what their output ports hold."""

from __future__ import annotations

from collections.abc import Generator
from urllib.parse import quote

from flask import Response, request

from dag_engine.api import calls
from dag_engine.api.access import caller
from dag_engine.api.answers import json_answer
from dag_engine.api.calls import (
    EVENT_STREAM,
    JSON,
    OCTETS,
    TEXT,
    Answer,
    Query,
    Resource,
)
from dag_engine.api.errors import ConflictError, GoneError, NotFoundError
from dag_engine.api.logs import LIMIT_BYTES, LogFollower, LogPlace, read_log
from dag_engine.api.services import Services, services
from dag_engine.api.streams import event_answer, find_beginning
from dag_engine.api.views import show_artifact
from dag_engine.core.access import Role
from dag_engine.storage import engines as stored_engines
from dag_engine.storage import tasks as stored_tasks
from dag_engine.storage.errors import NotFoundError as StoredNotFoundError
from dag_engine.storage.expiry import Kind, is_expired
from dag_engine.storage.rows import AttemptRecord
from executors.base import ArtifactRef
from executors.runtime.errors import InvalidInputError
from executors.runtime.preview import check_uri, load_report, preview_artifact
from executors.store import open_url

outputs = Resource("outputs", "Logs and outputs")
_PATH = "/runs/<word:run_id>/tasks/<word:operator>"
_CHUNK_BYTES = 256 * 1024
_OVER = frozenset({"succeeded", "failed", "cancelled", "lost"})


@outputs.call(
    "GET",
    _PATH + "/attempts/<number:attempt>/log",
    {200: Answer("The log, or a piece of it.", "LogChunk", (JSON, TEXT, EVENT_STREAM))},
    query=(
        calls.integer("offset", "First byte.", default=0),
        calls.integer("limit", "Bytes at most.", default=256 * 1024, least=1, most=4 * LIMIT_BYTES),
    ),
    headers={"Last-Event-ID": "Where a broken stream had come to."},
    role=Role.VIEWER,
)
def get_log(query: Query, run_id: str, operator: str, attempt: int) -> Response:
    """Read what an attempt wrote to stdout and stderr.

    As JSON a piece with the offset of the next one; with `Accept: text/plain` the text alone; with
    `Accept: text/event-stream` live until the attempt is over.
    """
    here, who = services(), caller()

    task = stored_tasks.get_task(here.database, who.namespace, run_id, operator)
    _check_kept(run_id, "logs")

    def find_attempt() -> AttemptRecord:
        return stored_tasks.get_attempt(here.database, who.namespace, run_id, task.index, attempt)

    place = _find_log(here, find_attempt())
    wanted = request.accept_mimetypes.best_match([JSON, TEXT, EVENT_STREAM])
    if wanted == EVENT_STREAM:
        follower = LogFollower(
            place,
            lambda: _is_over(find_attempt()),
            lambda: here.is_stopping or not here.tokens.is_good(who),
            find_beginning(query["offset"]),
        )
        return event_answer(follower.events(), here.slots)
    chunk = read_log(place, query["offset"], query["limit"])
    if wanted == TEXT:
        answer = Response(chunk.text, content_type=f"{TEXT}; charset=utf-8")
        answer.headers["X-Next-Offset"] = str(chunk.next_offset)
        return answer
    return json_answer(
        {
            "text": chunk.text,
            "offset": chunk.offset,
            "next_offset": chunk.next_offset,
            "size_bytes": chunk.size_bytes,
            "is_complete": chunk.is_complete,
        }
    )


def _find_log(here: Services, attempt: AttemptRecord) -> LogPlace:
    try:
        engine = stored_engines.get_engine(here.database, attempt.engine_id)
        engine_url, engine_incarnation = engine.url, engine.incarnation
    except StoredNotFoundError:
        engine_url = engine_incarnation = ""
    return LogPlace(
        store_url=here.config.store_url,
        run_id=attempt.run_id,
        index=attempt.index,
        attempt=attempt.attempt,
        engine_url=engine_url,
        engine_incarnation=engine_incarnation,
        is_over=_is_over(attempt),
    )


def _is_over(attempt: AttemptRecord) -> bool:
    return attempt.ended_at is not None or attempt.state in _OVER


@outputs.call(
    "GET",
    _PATH + "/outputs/<number:port>",
    {200: Answer("What it holds.", "Output")},
    role=Role.VIEWER,
)
def get_output(query: Query, run_id: str, operator: str, port: int) -> Response:
    """Tell what an output port holds."""
    return json_answer(show_artifact(port, _find_artifact(run_id, operator, port)))


@outputs.call(
    "GET",
    _PATH + "/outputs/<number:port>/preview",
    {200: Answer("The beginning.", "Preview")},
    query=(calls.integer("limit", "Rows at most.", default=50, most=1000),),
    role=Role.VIEWER,
)
def preview_output(query: Query, run_id: str, operator: str, port: int) -> Response:
    """Show the first rows of a table; of a report its value, of a model what it tells of itself."""
    ref = _find_artifact(run_id, operator, port)
    try:
        preview = preview_artifact(ref, services().config.store_url, query["limit"])
    except InvalidInputError as error:
        raise GoneError("artifact_gone", str(error)) from error
    if ref.type != "table":
        return json_answer({"type": ref.type, "value": preview.value})
    n_rows = preview.rows
    return json_answer(
        {
            "type": ref.type,
            "columns": [{"name": one.name, "type": one.type} for one in preview.columns],
            "rows": preview.items,
            "n_rows": n_rows,
            "is_truncated": n_rows is None or n_rows > len(preview.items),
        }
    )


@outputs.call(
    "GET",
    _PATH + "/outputs/<number:port>/content",
    {200: Answer("The content.", types=(JSON, OCTETS))},
    role=Role.VIEWER,
)
def get_content(query: Query, run_id: str, operator: str, port: int) -> Response:
    """Get the content of an output port: a report as JSON, anything else as the stored file."""
    ref = _find_artifact(run_id, operator, port)
    store_url = services().config.store_url
    try:
        if ref.type == "report":
            return json_answer(load_report(ref, store_url), headers={"ETag": f'"{ref.sha256}"'})
        check_uri(ref, store_url)
        file = open_url(ref.uri)
    except (InvalidInputError, FileNotFoundError) as error:
        raise GoneError("artifact_gone", str(error)) from error

    def pieces() -> Generator[bytes]:
        with file:
            while piece := file.read(_CHUNK_BYTES):
                yield piece

    answer = Response(pieces(), content_type=OCTETS)
    answer.call_on_close(file.close)
    answer.content_length = ref.size_bytes
    answer.set_etag(ref.sha256)
    answer.headers["Content-Disposition"] = _name_download(ref, port)
    return answer


def _name_download(ref: ArtifactRef, port: int) -> str:
    """Name the file as the algorithm did; browsers too old for its letters get the port's number.

    References
    ----------
    RFC 6266 and RFC 8187: `filename*` carries UTF-8.
    """
    ending = ref.uri.rpartition("/")[2].partition(".")[2]
    plain = f'attachment; filename="{port}.{ending}"'
    name = str(ref.meta.get("name", ""))
    return f"{plain}; filename*=UTF-8''{quote(name, safe='')}" if name else plain


def _check_kept(run_id: str, kind: Kind) -> None:
    expired_at = is_expired(services().database, caller().namespace, run_id, kind)
    if expired_at is not None:
        raise GoneError(
            "expired",
            f"The {kind} of this run were deleted on {expired_at:%Y-%m-%d}, since they were older "
            f"than the policy of retention keeps them. Run it again where they are needed.",
        )


def _find_artifact(run_id: str, operator: str, port: int) -> ArtifactRef:
    here = services()
    task = stored_tasks.get_task(here.database, caller().namespace, run_id, operator)
    for output in task.outputs:
        if output.port == port:
            if output.ref.uri:
                _check_kept(run_id, "results")
            return output.ref
    planned = here.plans.get(caller().namespace, run_id).tasks[task.index]
    if port >= planned.n_outputs:
        raise NotFoundError(
            "no_such_port",
            f"{operator} has {planned.n_outputs} output ports, numbered from 0; {port} was asked.",
        )
    raise ConflictError(
        "no_output_yet", f"Port {port} of {operator} holds nothing: the task is {task.state}."
    )
