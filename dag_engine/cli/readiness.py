"""Waits until a starting service does its work."""

from __future__ import annotations

import json
import threading
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dag_engine.cli.errors import ServiceError
from dag_engine.cli.news import say

_PAUSE_S = 0.05
_ANSWER_S = 5.0


def wait_for_ready(url: str, is_over: threading.Event, *, engine: Path | None) -> bool:
    """Wait until the API answers that it is ready, and its operator engine has registered.

    The listening socket exists already, so the first request simply waits for the api process.
    `engine` is the file in which the operator engine that starts beside it writes its address: it
    is asked itself, for after a quick restart the API still takes its former life for living.
    Raises `ServiceError` where that engine cannot offer its algorithms.
    """
    while not is_over.is_set():
        is_served = ask(url, "/readyz")[0] == 200
        if engine is not None:
            is_served &= bool(ask_starting_engine(engine).get("is_registered"))
        if is_served:
            return True
        is_over.wait(_PAUSE_S)
    return False


def wait_for_registered(address: Path, is_over: threading.Event) -> bool:
    """Wait until the operator engine whose main process writes `address` has registered; say why
    where it is refused, for that may last.

    Raises `ServiceError` where it cannot offer its algorithms.
    """
    told = ""
    while not is_over.is_set():
        health = ask_starting_engine(address)
        if health.get("is_registered"):
            return True
        refusal = str(health.get("refusal") or "")
        if refusal not in ("", told):
            say(f"not registered, but tried again: {refusal}")
            told = refusal
        is_over.wait(_PAUSE_S)
    return False


def ask_starting_engine(address: Path) -> dict[str, Any]:
    """Get the health of an operator engine that starts; empty while it does not answer.

    Raises `ServiceError` where it cannot offer its algorithms: it would try for ever.
    """
    try:
        url = str(json.loads(address.read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError):
        return {}
    health = ask(url, "/healthz")[1]
    if problem := health.get("catalogue_problem"):
        raise ServiceError(str(problem), "Mend or remove what is named, then start again.")
    return health


def ask(url: str, path: str) -> tuple[int, dict[str, Any]]:
    """Get a page as status and JSON; status 0 where nobody answers."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        body = json.loads(reply.read() or b"{}")
    except (OSError, HTTPException, ValueError):
        return 0, {}
    finally:
        connection.close()
    return reply.status, body if isinstance(body, dict) else {}
