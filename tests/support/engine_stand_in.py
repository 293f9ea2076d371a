"""Plays an operator engine over real HTTP: takes what it is handed and reports what a test says."""

from __future__ import annotations

import threading
import time

import msgspec

from executors.base import (
    Dispatch,
    DispatchItem,
    ExecutorOffer,
    InventoryItem,
    Outcome,
    Registration,
    RegistrationReply,
    Report,
    ReportBatch,
    ReportReply,
    Verdict,
)
from executors.transport.http_client import HttpClient, HttpReply
from executors.transport.http_server import HttpServer, Request, Response


class EngineStandIn:
    """An operator engine without executors; the test is its executor."""

    def __init__(self, scheduler_url: str, engine_id: str = "e1", marker: str = "") -> None:
        self.engine_id = engine_id
        self.incarnation = "first"
        self.sealing_key = ""
        self.marker = marker
        self.items: dict[str, DispatchItem] = {}
        self.cancels: list[str] = []
        self.n_messages = 0
        self.largest_batch = 1000
        self._changed = threading.Condition()
        self._server = HttpServer(self._handle, name=engine_id)
        self._server.start()
        self.client = HttpClient(scheduler_url, timeout_s=30)

    def _handle(self, request: Request) -> Response:
        dispatch = msgspec.json.decode(request.body, type=Dispatch)
        if dispatch.incarnation != self.incarnation:
            return Response(409)
        if len(dispatch.tasks) > self.largest_batch:
            return Response(413)
        with self._changed:
            self.n_messages += 1
            self.items.update({item.task.attempt_id: item for item in dispatch.tasks})
            self.cancels += dispatch.cancels
            self._changed.notify_all()
        return Response(200, b"{}")

    def ask_to_register(
        self,
        inventory: list[InventoryItem] | None = None,
        slots: int = 4,
        number: int = 0,
        epoch: int = 0,
    ) -> HttpReply:
        """Register and return the raw answer."""
        registration = Registration(
            engine_id=self.engine_id,
            incarnation=self.incarnation,
            number=number,
            epoch=epoch,
            url=self._server.url,
            slots=slots,
            executors=[ExecutorOffer(name="local", slots=slots)],
            store_marker=self.marker,
            inventory=inventory or [],
            sealing_key=self.sealing_key,
        )
        return self.client.request(
            "POST", "/internal/v1/operator-engines", msgspec.json.encode(registration)
        )

    def register(
        self, inventory: list[InventoryItem] | None = None, slots: int = 4
    ) -> RegistrationReply:
        """Register as soon as the scheduler leads."""
        deadline = time.monotonic() + 20
        while True:
            reply = self.ask_to_register(inventory, slots)
            if reply.status != 503 or time.monotonic() > deadline:
                assert reply.status == 200, reply.body
                return msgspec.json.decode(reply.body, type=RegistrationReply)
            time.sleep(0.05)

    def wait_for(self, *attempt_ids: str, timeout_s: float = 10) -> list[DispatchItem]:
        """Wait until all these attempts were handed over."""
        with self._changed:
            arrived = self._changed.wait_for(
                lambda: all(attempt_id in self.items for attempt_id in attempt_ids), timeout_s
            )
            assert arrived, f"handed over: {sorted(self.items)}"
            return [self.items[attempt_id] for attempt_id in attempt_ids]

    def wait_for_cancel(self, attempt_id: str, timeout_s: float = 10) -> None:
        """Wait until the scheduler asked to kill an attempt."""
        with self._changed:
            assert self._changed.wait_for(lambda: attempt_id in self.cancels, timeout_s)

    def report(self, *outcomes: Outcome) -> list[Verdict]:
        """Report outcomes with their right tokens."""
        return self.report_with_tokens(
            [Report(outcome=o, token=self.items[o.attempt_id].token) for o in outcomes]
        )

    def report_with_tokens(self, reports: list[Report]) -> list[Verdict]:
        """Report, repeating the batch while the scheduler answers 503."""
        batch = ReportBatch(engine_id=self.engine_id, incarnation=self.incarnation, reports=reports)
        deadline = time.monotonic() + 20
        while True:
            reply = self.client.request("POST", "/internal/v1/reports", msgspec.json.encode(batch))
            if reply.status != 503 or time.monotonic() > deadline:
                assert reply.status == 200, reply.body
                return msgspec.json.decode(reply.body, type=ReportReply).verdicts
            time.sleep(0.05)

    def close(self) -> None:
        """Stop serving."""
        self._server.close()
        self.client.close()
