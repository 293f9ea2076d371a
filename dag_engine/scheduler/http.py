"""The scheduler's own HTTP server: reports, registrations, heartbeats, hints and the feed."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable

import msgspec

from dag_engine.core.access import Caller, Role
from dag_engine.scheduler.errors import NotLeadingError, SchedulerError
from dag_engine.scheduler.inbox import (
    EngineLeaves,
    EngineRegisters,
    EngineStopped,
    HintCame,
    ReportsCame,
)
from dag_engine.scheduler.loop import Scheduler
from dag_engine.scheduler.sender import find_url_fault
from dag_engine.storage.errors import StorageError
from executors.base import Heartbeat, Registration, ReportBatch
from executors.transport.http_server import Request, Response, problem

ANSWER_WITHIN_S = 2.0
"""A call that the database holds up longer is answered 503, and to be repeated."""
REGISTER_WITHIN_S = 20.0
SECRET_HEADER = "x-dagengine-secret"
_decode_reports = msgspec.json.Decoder(ReportBatch).decode
_Guard = Callable[[Request], Response | None]
_Answer = Callable[..., Response]


class Hint(msgspec.Struct):
    """What the api tells after it has written: new runs by id, and whether commands wait."""

    runs: list[str] = []
    commands: bool = False


class SchedulerServer:
    """Routes requests to the scheduler.

    `find_caller` tells who sends an Authorization header, None for a stranger. Calls that bear the
    installation's secret are those of our api and of this installation's operator engine.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        secret: str,
        find_caller: Callable[[str], Caller | None],
    ) -> None:
        self._scheduler = scheduler
        self._secret = secret
        self._find_caller = find_caller

        engines = "/internal/v1/operator-engines"
        anybody, operator, ours = _everybody, self._check_operator, self._check_secret
        # Reports come first: they are on the way of every task. Their own tokens guard them.
        self._routes: list[tuple[str, re.Pattern[str], _Guard, _Answer]] = [
            ("POST", re.compile("/internal/v1/reports"), anybody, self._report),
            ("POST", re.compile("/internal/v1/hints"), ours, self._hint),
            ("POST", re.compile(f"{engines}/([^/]+)/heartbeat"), operator, self._beat),
            ("POST", re.compile(engines), operator, self._register),
            ("DELETE", re.compile(f"{engines}/([^/]+)"), operator, self._remove),
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
            text = error.public_text if isinstance(error, StorageError) else str(error)
            answer = problem(status, error.code, text)
            if status < 500:
                self._scheduler.surroundings.figures.note_refused(error.code)
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
            return guard(request) or answer(request, *match.groups())
        return problem(404, "not_found", f"There is no {request.method} {request.path}.")

    def _live(self, request: Request) -> Response:
        del request
        return _json({"status": "alive"})

    def _status(self, request: Request) -> Response:
        del request
        reign = self._scheduler.reign
        scheduler = self._scheduler
        shown = {"inbox": len(scheduler.inbox), "figures": scheduler.surroundings.figures.show()}
        return _json({"leads": reign is not None, **shown, **(reign.status() if reign else {})})

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
        return self._ask(ReportsCame(_decode_reports(request.body)), ANSWER_WITHIN_S)

    def _register(self, request: Request) -> Response:
        registration = msgspec.json.decode(request.body, type=Registration)
        if fault := find_url_fault(registration.url):
            text = (
                f"`url` is {registration.url[:200]!r}, where no operator engine can be called: "
                f"{fault}. Send one such as http://10.0.0.2:8090; an operator engine takes it from "
                "`engine.advertise_url`."
            )
            return problem(422, "bad_url", text)
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
        if beat.has_left:
            self._scheduler.inbox.put(EngineStopped(engine_id, beat.incarnation))
        return _json(reign.engines.beat(engine_id, beat))

    def _check_secret(self, request: Request) -> Response | None:
        """Refuse whoever does not show the installation's secret."""
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        shown = [request.headers.get(SECRET_HEADER, "")]
        if scheme.lower() == "bearer":
            shown.append(bearer.strip())
        secret = self._secret.encode()
        if secret and any(hmac.compare_digest(word.encode(), secret) for word in shown):
            return None
        return problem(401, "unauthorized", "This call is for the installation's own processes.")

    def _check_operator(self, request: Request) -> Response | None:
        """Refuse whoever may not run operator engines."""
        if self._check_secret(request) is None:
            return None
        caller = self._find_caller(request.headers.get("authorization", ""))
        if caller is None:
            return problem(401, "unauthorized", "Send a token: `Authorization: Bearer …`.")
        if caller.role < Role.OPERATOR:
            text = f"This call asks for the role operator; the token has {caller.role.word}."
            return problem(403, "role_too_small", text)
        return None


def _everybody(request: Request) -> None:
    del request


def _json(value: object) -> Response:
    return Response(200, msgspec.json.encode(value))
