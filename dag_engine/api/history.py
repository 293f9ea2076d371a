"""The history of a run, as a list or as a live stream."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator

from flask import Response, request

from dag_engine.api import calls
from dag_engine.api.access import caller
from dag_engine.api.answers import json_answer
from dag_engine.api.calls import EVENT_STREAM, JSON, LIMIT, Answer, Query, Resource
from dag_engine.api.feed import Watch
from dag_engine.api.services import Services, services
from dag_engine.api.streams import KEEP_ALIVE, event, event_answer, find_beginning
from dag_engine.api.views import show_event, show_run
from dag_engine.core.access import Caller, Role
from dag_engine.core.states import FINAL_RUN_STATES
from dag_engine.storage import events as stored_events
from dag_engine.storage import runs as stored_runs
from dag_engine.storage.errors import DatabaseUnavailableError

log = logging.getLogger(__name__)

history = Resource("history", "Runs")
_PAGE_EVENTS = 500
_LOOK_AGAIN_S = 1.0
_QUIET_S = 15.0


@history.call(
    "GET",
    "/runs/<word:run_id>/events",
    {200: Answer("The events.", "[Event]", (JSON, EVENT_STREAM))},
    query=(calls.integer("after", "Number of the last event that is known.", default=0), LIMIT),
    headers={"Last-Event-ID": "Number of the last event that a broken stream had told."},
    role=Role.VIEWER,
)
def list_events(query: Query, run_id: str) -> Response:
    """List what happened to a run, in order.

    With `Accept: text/event-stream` the events come as they happen; the stream ends with the event
    `end`, which holds the run.
    """
    here = services()
    stored_runs.get_run(here.database, caller().namespace, run_id)
    if wants_stream():
        after = find_beginning(query["after"])
        return event_answer(follow_run(here, caller(), run_id, after), here.slots)
    found = stored_events.list_events_after(
        here.database, caller().namespace, run_id, query["after"], limit=query["limit"]
    )
    cursor = str(found[-1].seq) if len(found) == query["limit"] else None
    return json_answer({"items": [show_event(one) for one in found], "next_cursor": cursor})


def wants_stream() -> bool:
    """Tell whether the client would rather have a stream."""
    return request.accept_mimetypes.best_match([JSON, EVENT_STREAM]) == EVENT_STREAM


def follow_run(here: Services, who: Caller, run_id: str, after: int) -> Generator[bytes]:
    """Yield the events of a run as they happen, until it is over or the token is not good."""
    told_at = time.monotonic()
    with here.feed.watch(run_id) as watch:
        # the head of the answer goes out with its first piece
        yield KEEP_ALIVE
        while here.tokens.is_good(who):
            try:
                pieces, after, is_over = _read_news(here, who.namespace, run_id, after)
            except DatabaseUnavailableError as error:
                log.warning("stream_waits run_id=%s detail=%s", run_id, error.detail)
                pieces, is_over = [], False
            if pieces:
                told_at = time.monotonic()
                yield b"".join(pieces)
            if is_over or here.is_stopping:
                return
            if time.monotonic() - told_at > _QUIET_S:
                told_at = time.monotonic()
                yield KEEP_ALIVE
            if not pieces:
                _wait(here, watch)


def _read_news(
    here: Services, namespace: str, run_id: str, after: int
) -> tuple[list[bytes], int, bool]:
    """Read the next events; the run is looked at first, so that its end is the last thing told."""
    mark = stored_runs.read_mark(here.database, namespace, run_id)
    if mark.last_seq > after:
        found = stored_events.list_events_after(
            here.database, namespace, run_id, after, limit=_PAGE_EVENTS
        )
    else:
        found = []
    pieces = [event(show_event(one), kind=one.kind, number=one.seq) for one in found]
    after = found[-1].seq if found else after
    is_over = mark.state in FINAL_RUN_STATES and after >= mark.last_seq
    if is_over:
        run = stored_runs.get_run(here.database, namespace, run_id)
        pieces.append(event(show_run(run), kind="end"))
    return pieces, after, is_over


def _wait(here: Services, watch: Watch) -> None:
    """Wait for news; without the feed for a second, and never longer than the silence allowed."""
    end = time.monotonic() + _QUIET_S
    while not watch.wait(_LOOK_AGAIN_S):
        if not here.feed.is_live or here.is_stopping or time.monotonic() > end:
            return
