"""The scheduler's own HTTP server: reports, registrations, heartbeats, hints and the feed."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable

import msgspec

from dag_engine.scheduler.errors import NotLeadingError, SchedulerError
from dag_engine.scheduler.inbox import EngineLeaves, EngineRegisters, HintCame, ReportsCame
from dag_engine.scheduler.loop import Scheduler
from dag_engine.storage.errors import StorageError
from executors.base import Heartbeat, Registration, ReportBatch
from executors.transport.http_server import Request, Response, problem

ANSWER_WITHIN_S = 2.0
"""A call that the database holds up longer is answered 503, and to be repeated."""
REGISTER_WITHIN_S = 20.0
SECRET_HEADER = "x-dagengine-secret"
_Guard = Callable[[Request], bool]
_Answer = Callable[..., Response]


class Hint(msgspec.Struct):
    """What the api tells after it has written: new runs by id, and whether commands wait."""

    runs: list[str] = []
    commands: bool = False


class SchedulerServer:
    """Routes requests to the scheduler.

    `is_token` tells whether the SHA-256 of a bearer token belongs to a valid token; it is asked
    only where `needs_token` is set. Calls that bear the installation's secret are those of our api.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        secret: str,
        *,
        needs_token: bool,
        is_token: Callable[[str], bool],
    ) -> None:
        self._scheduler = scheduler
        self._secret = secret
        self._needs_token = needs_token
        self._is_token = is_token

        engines = "/internal/v1/operator-engines"
        anybody, bearer, ours = _everybody, self._may_call, self._has_secret
        # Reports come first: they are on the way of every task. Their own tokens guard them.
        self._routes: list[tuple[str, re.Pattern[str], _Guard, _Answer]] = [
            ("POST", re.compile("/internal/v1/reports"), anybody, self._report),
            ("POST", re.compile("/internal/v1/hints"), ours, self._hint),
            ("POST", re.compile(f"{engines}/([^/]+)/heartbeat"), bearer, self._beat),
            ("POST", re.compile(engines), bearer, self._register),
            ("DELETE", re.compile(f"{engines}/([^/]+)"), bearer, self._remove),
            ("GET", re.compile("/internal/v1/feed"), ours, self._feed),
            ("GET", re.compile("/livez"), anybody, self._live),
            ("GET", re.compile("/status"), ours, self._status),
        ]

    def handle(self, request: Request) -> Response:
        """Answer one request; any thread may call this."""
        try:
            return self._route(request)
        except (SchedulerError, StorageError) as error:
            status = getattr(error, "http_status", getattr(error, "status", 500))
            answer = problem(status, error.code, str(error))
        except TimeoutError:
            answer = problem(503, "busy", "The database holds this up. Repeat the call.")
        except msgspec.ValidationError as error:
            return problem(422, "bad_message", f"The message does not fit: {error}")
        except msgspec.DecodeError as error:
            return problem(400, "bad_message", f"The message is not JSON: {error}")
        if answer.status == 503:
            answer.headers["Retry-After"] = "1"
        return answer

    def _route(self, request: Request) -> Response:
        for method, pattern, guard, answer in self._routes:
            match = pattern.fullmatch(request.path)
            if match is None or method != request.method:
                continue
            if not guard(request):
                return problem(401, "unauthorized", "Send a token: `Authorization: Bearer …`.")
            return answer(request, *match.groups())
        return problem(404, "not_found", f"There is no {request.method} {request.path}.")

    def _live(self, request: Request) -> Response:
        del request
        return _json({"status": "alive"})

    def _status(self, request: Request) -> Response:
        del request
        reign = self._scheduler.reign
        return _json({"leads": reign is not None, **(reign.status() if reign else {})})

    def _hint(self, request: Request) -> Response:
        hint = msgspec.json.decode(request.body, type=Hint)
        self._scheduler.inbox.put(HintCame(hint.runs, hint.commands))
        return Response(202)

    def _feed(self, request: Request) -> Response:
        del request
        lines = self._scheduler.feed.subscribe()
        return Response(content_type="application/x-ndjson", stream=lines)

    def _remove(self, request: Request, engine_id: str) -> Response:
        del request
        return self._ask(EngineLeaves(engine_id), REGISTER_WITHIN_S)

    def _report(self, request: Request) -> Response:
        batch = msgspec.json.decode(request.body, type=ReportBatch)
        return self._ask(ReportsCame(batch), ANSWER_WITHIN_S)

    def _register(self, request: Request) -> Response:
        registration = msgspec.json.decode(request.body, type=Registration)
        return self._ask(EngineRegisters(registration), REGISTER_WITHIN_S)

    def _ask(self, item: ReportsCame | EngineRegisters | EngineLeaves, within_s: float) -> Response:
        self._scheduler.inbox.put(item)
        try:
            return _json(item.reply.wait(within_s))
        except TimeoutError:
            self._scheduler.inbox.withdraw(item)
            raise

    def _beat(self, request: Request, engine_id: str) -> Response:
        beat = msgspec.json.decode(request.body, type=Heartbeat)
        reign = self._scheduler.reign
        if reign is None:
            raise NotLeadingError
        return _json(reign.engines.beat(engine_id, beat.incarnation))

    def _has_secret(self, request: Request) -> bool:
        return hmac.compare_digest(
            request.headers.get(SECRET_HEADER, "").encode("latin-1"), self._secret.encode()
        )

    def _may_call(self, request: Request) -> bool:
        if not self._needs_token or self._has_secret(request):
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return False
        return self._is_token(hashlib.sha256(token.strip().encode("latin-1")).hexdigest())


def _everybody(request: Request) -> bool:
    del request
    return True


def _json(value: object) -> Response:
    return Response(200, msgspec.json.encode(value))
