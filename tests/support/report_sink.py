"""A dag engine's stand-in for operator engines: real HTTP, no scheduler behind it."""

from __future__ import annotations

import threading
import time
from collections import Counter

import msgspec

from executors.base import (
    Dispatch,
    DispatchItem,
    Heartbeat,
    HeartbeatReply,
    Outcome,
    Registration,
    RegistrationReply,
    ReportBatch,
    ReportReply,
    Task,
    Verdict,
    VerdictWord,
)
from executors.transport.http_client import HttpClient, HttpReply
from executors.transport.http_server import HttpServer, Request, Response, problem

_PATIENCE_S = 5.0


class ReportSink:
    """Takes registrations, heartbeats and reports, and hands out tasks.

    `wanted` are the attempts that were handed out, `ends` the outcomes that were applied, `counts`
    the verdicts given. `failures` holds statuses with which the next reports are answered.
    """

    def __init__(self, *, store_url: str = "", heartbeat_s: float = 0.2) -> None:
        self.heartbeat_s = heartbeat_s
        self.store_url = store_url
        self.registrations: list[Registration] = []
        self.heartbeats: list[Heartbeat] = []
        self.told: list[Outcome] = []
        self.told_at: dict[tuple[str, str], float] = {}
        self.ends: dict[str, Outcome] = {}
        self.wanted: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.failures: list[int] = []
        self.refusals: list[int] = []
        self.n_settings_asked = 0
        self.reports_url = ""
        self.is_forgetful = False
        self.epoch = 1
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._client: HttpClient | None = None
        self._server = HttpServer(self._handle, name="sink")
        self._port = self._server.port
        self._server.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def close(self) -> None:
        self.go_away()
        if self._client is not None:
            self._client.close()

    def go_away(self) -> None:
        self._server.close()

    def come_back(self) -> None:
        self._server = HttpServer(self._handle, port=self._port, name="sink")
        self._server.start()

    def dispatch(
        self,
        tasks: list[Task],
        cancels: list[str] | None = None,
        *,
        epoch: int | None = None,
        incarnation: str | None = None,
    ) -> HttpReply:
        registration = self.registrations[-1]
        dispatch = Dispatch(
            epoch=self.epoch if epoch is None else epoch,
            incarnation=registration.incarnation if incarnation is None else incarnation,
            tasks=[
                DispatchItem(task=task, token=self.make_token(task.attempt_id)) for task in tasks
            ],
            cancels=cancels or [],
        )
        with self._lock:
            self.wanted.update(task.attempt_id for task in tasks)
        if self._client is None or self._client.base_url != registration.url:
            if self._client is not None:
                self._client.close()
            self._client = HttpClient(registration.url)
        body = msgspec.json.encode(dispatch)
        until = time.monotonic() + _PATIENCE_S
        # As the dag engine does: the answer to a registration may not have been read yet.
        while (reply := self._client.request("POST", "/tasks", body)).status == 503:
            if time.monotonic() > until:
                break
            time.sleep(0.01)
        return reply

    def ask(self, method: str, path: str) -> HttpReply:
        registration = self.registrations[-1]
        client = HttpClient(registration.url, token=registration.incarnation)
        try:
            return client.request(method, path)
        finally:
            client.close()

    def wait_end(self, attempt_id: str, timeout_s: float = 20.0) -> Outcome:
        return self.wait_ends([attempt_id], timeout_s)[0]

    def wait_ends(self, attempt_ids: list[str], timeout_s: float = 20.0) -> list[Outcome]:
        with self._changed:
            is_there = self._changed.wait_for(
                lambda: all(attempt_id in self.ends for attempt_id in attempt_ids), timeout_s
            )
            missing = [attempt_id for attempt_id in attempt_ids if attempt_id not in self.ends]
            assert is_there, f"not reported within {timeout_s:g} s: {missing}"
            return [self.ends[attempt_id] for attempt_id in attempt_ids]

    @staticmethod
    def make_token(attempt_id: str) -> str:
        return f"token-{attempt_id}"

    def _handle(self, request: Request) -> Response:
        if request.path.endswith("/internal/v1/reports"):
            return self._take_reports(request)
        if request.path == "/internal/v1/operator-engines":
            return self._register(request)
        if request.path.endswith("/heartbeat"):
            self.heartbeats.append(msgspec.json.decode(request.body, type=Heartbeat))
            is_known = bool(self.registrations) and not self.is_forgetful
            self.is_forgetful = False
            return _json(HeartbeatReply(is_known=is_known, epoch=self.epoch))
        if request.path == "/internal/v1/settings":
            self.n_settings_asked += 1
            return _json({"store_url": self.store_url, "store_marker": ""})
        return problem(404, "not_found", request.path)

    def _register(self, request: Request) -> Response:
        if self.refusals:
            return problem(self.refusals.pop(0), "store_differs", "The store is another one.")
        registration = msgspec.json.decode(request.body, type=Registration)
        with self._changed:
            held = [item.attempt_id for item in registration.inventory]
            self.registrations.append(registration)
            self._changed.notify_all()
            return _json(
                RegistrationReply(
                    epoch=self.epoch,
                    reports_url=self.reports_url or self.url,
                    heartbeat_s=self.heartbeat_s,
                    lease_s=10.0,
                    tokens={item: self.make_token(item) for item in held},
                    forget=[item for item in held if item not in self.wanted],
                    acknowledged=[item for item in held if item in self.ends],
                )
            )

    def _take_reports(self, request: Request) -> Response:
        arrived_at = time.perf_counter()
        if self.failures:
            return problem(self.failures.pop(0), "unavailable", "not now")
        try:
            batch = msgspec.json.decode(request.body, type=ReportBatch)
        except msgspec.ValidationError as error:
            return problem(422, "bad_message", str(error))
        with self._changed:
            verdicts = []
            for report in batch.reports:
                outcome = report.outcome
                word = self._judge(outcome, report.token)
                self.counts[word] += 1
                self.told.append(outcome)
                self.told_at.setdefault((outcome.attempt_id, outcome.kind), arrived_at)
                verdicts.append(
                    Verdict(attempt_id=outcome.attempt_id, kind=outcome.kind, verdict=word)
                )
            self._changed.notify_all()
        return _json(ReportReply(verdicts=verdicts))

    def _judge(self, outcome: Outcome, token: str) -> VerdictWord:
        if token != self.make_token(outcome.attempt_id):
            return "refused"
        if outcome.attempt_id not in self.wanted:
            return "stale"
        if outcome.attempt_id in self.ends:
            return "duplicate"
        if outcome.kind == "ended":
            self.ends[outcome.attempt_id] = outcome
        return "applied"


def _json(value: object) -> Response:
    return Response(200, msgspec.json.encode(value))
