"""What becomes of a message that an operator engine will never take as a whole."""

from __future__ import annotations

import msgspec
import pytest

from dag_engine.scheduler import sender
from dag_engine.scheduler.sender import EngineSender
from executors.base import Dispatch, DispatchItem, Task
from executors.transport.http_server import HttpServer, Request, Response
from tests.support.waiting import wait_until


def make_item(name: str, length: int = 0) -> DispatchItem:
    task = Task(
        attempt_id=name,
        run_id="r",
        operator="o",
        index=0,
        attempt=1,
        algorithm="a",
        entry="m:f",
        params={"text": "x" * length},
    )
    return DispatchItem(task=task, token="t")


def test_each_part_of_it_says_who_leads_and_is_no_longer_than_an_engine_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "LARGEST_TASK_BYTES", 10_000)
    came: list[Dispatch] = []
    refused: dict[str, str] = {}

    def take(request: Request) -> Response:
        dispatch = msgspec.json.decode(request.body, type=Dispatch)
        if len(dispatch.tasks) + bool(dispatch.cancels) > 1:
            return Response(413)
        came.append(dispatch)
        return Response(200, b"{}")

    server = HttpServer(take, name="engine")
    server.start()
    engine = EngineSender("e1", server.url, "first", 7, refused.__setitem__)
    try:
        with engine._changed:  # so that all of it becomes one message
            engine.greet("http://leader")
            engine.send([make_item("r.0.1"), make_item("r.1.1", 9_950)], ["r.2.1"])
        wait_until(lambda: len(came) + len(refused) == 3)
    finally:
        engine.close()
        server.close()
    assert [(len(one.tasks), one.cancels) for one in came] == [(1, []), (0, ["r.2.1"])]
    assert {one.reports_url for one in came} == {"http://leader"}
    assert list(refused) == ["r.1.1"]
