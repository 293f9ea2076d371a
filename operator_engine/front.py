"""What main answers over HTTP."""

from __future__ import annotations

import hmac
import logging
import re
import threading
from collections.abc import Callable

import msgspec

from executors.base import BaseExecutor, Dispatch, LogChunk
from executors.errors import ExecutorError, UnknownAttemptError
from executors.transport.http_server import Request, Response, problem
from operator_engine.desk import Desk
from operator_engine.errors import DispatchRefusedError

log = logging.getLogger(__name__)

_TASK_PATH = re.compile(r"^/tasks/([^/:]+)(:cancel|/log)?$")
_DEFAULT_LOG_BYTES = 64 * 1024
_MAX_LOG_BYTES = 4 * 1024 * 1024
_DECODER = msgspec.json.Decoder(Dispatch)


class Front:
    """The HTTP handler of main.

    Parameters
    ----------
    desk : Desk
        Main's state.
    get_executors : callable
        Returns main's own executor clients by name; they read logs.
    get_health : callable
        Returns what `/healthz` adds to the desk's own state.
    """

    def __init__(
        self,
        desk: Desk,
        get_executors: Callable[[], dict[str, BaseExecutor]],
        get_health: Callable[[], dict[str, object]],
    ) -> None:
        self._desk = desk
        self._get_executors = get_executors
        self._get_health = get_health
        self._log_lock = threading.Lock()

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == "/tasks":
            return self._dispatch(request)
        if request.path == "/livez":
            return _json({"status": "alive"})
        if request.path == "/healthz":
            return self._health()
        if request.path == "/metrics":
            return self._metrics()
        match = _TASK_PATH.match(request.path)
        if match is None:
            return problem(404, "not_found", f"There is nothing at {request.path}.")
        return self._answer_task(request, match[1], match[2] or "")

    def _answer_task(self, request: Request, attempt_id: str, action: str) -> Response:
        if not self._is_from_dag_engine(request):
            return problem(401, "unauthorized", "Only the dag engine may ask for a task here.")
        wanted = "POST" if action == ":cancel" else "GET"
        if request.method != wanted:
            return _wrong_method(wanted)
        if action == ":cancel":
            is_known = self._desk.cancel([attempt_id])
            return _json({"attempt_id": attempt_id, "is_known": is_known}, 202)
        if action == "/log":
            return self._read_log(request, attempt_id)
        described = self._desk.describe(attempt_id)
        return _not_held(attempt_id) if described is None else _json(described)

    def _is_from_dag_engine(self, request: Request) -> bool:
        """Tell whether the caller knows the incarnation: it is told to the dag engine alone."""
        _, _, shown = request.headers.get("authorization", "").partition(" ")
        return hmac.compare_digest(shown.encode("latin-1"), self._desk.incarnation.encode())

    def _dispatch(self, request: Request) -> Response:
        if request.method != "POST":
            return _wrong_method("POST")
        try:
            dispatch = _DECODER.decode(request.body)
            return _json(self._desk.dispatch(dispatch))
        except msgspec.DecodeError as error:
            return problem(400, "invalid_batch", f"The body is not a batch of tasks: {error}")
        except DispatchRefusedError as error:
            log.warning("dispatch_refused code=%s", error.code)
            return problem(error.status, error.code, str(error))

    def _read_log(self, request: Request, attempt_id: str) -> Response:
        try:
            offset = int(request.query.get("offset", "0"))
            limit = int(request.query.get("limit", str(_DEFAULT_LOG_BYTES)))
        except ValueError:
            offset = limit = -1
        if offset < 0 or not 0 < limit <= _MAX_LOG_BYTES:
            return problem(
                400,
                "invalid_range",
                f"`offset` must be a number from 0 on, `limit` one from 1 to {_MAX_LOG_BYTES}.",
            )
        executors = self._get_executors()
        name = self._desk.find_executor(attempt_id)
        asked = [executors[name]] if name in executors else list(executors.values())
        try:
            chunk = self._find_log(asked, attempt_id, offset, limit)
        except ExecutorError as error:
            return problem(503, "executor_unavailable", str(error))
        if chunk is None:
            return _not_held(attempt_id)
        return Response(200, msgspec.json.encode(chunk))

    def _find_log(
        self, asked: list[BaseExecutor], attempt_id: str, offset: int, limit: int
    ) -> LogChunk | None:
        for executor in asked:
            try:
                # Clients promise no more than one caller at a time.
                with self._log_lock:
                    return executor.read_log(executor.handle_of(attempt_id), offset, limit)
            except UnknownAttemptError:
                continue
        return None

    def _health(self) -> Response:
        links = self._desk.links()
        health = self._get_health()
        stages, _ = self._desk.count()
        is_ready = all(links.values()) and health.get("is_registered") is True
        status = "ready" if is_ready else "degraded"
        return _json({"status": status, **links, **health, "held": stages})

    def _metrics(self) -> Response:
        stages, totals = self._desk.count()
        lines = ["# TYPE operator_engine_attempts gauge"]
        lines += [f'operator_engine_attempts{{stage="{k}"}} {v}' for k, v in sorted(stages.items())]
        for name, total in sorted(totals.items()):
            lines.append(f"# TYPE operator_engine_{name}_total counter")
            lines.append(f"operator_engine_{name}_total {total}")
        for name, is_up in self._desk.links().items():
            lines.append(f'operator_engine_child_up{{name="{name}"}} {int(is_up)}')
        body = "\n".join([*lines, ""]).encode()
        return Response(200, body, "text/plain; version=0.0.4; charset=utf-8")


def _json(value: object, status: int = 200) -> Response:
    return Response(status, msgspec.json.encode(value))


def _wrong_method(wanted: str) -> Response:
    answer = problem(405, "wrong_method", f"Use {wanted} here.")
    answer.headers["Allow"] = wanted
    return answer


def _not_held(attempt_id: str) -> Response:
    return problem(404, "unknown_attempt", f"This operator engine holds no attempt {attempt_id}.")
