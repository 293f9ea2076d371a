"""Serves the API with gunicorn: threads, one listening socket, workers that are forked."""

from __future__ import annotations

import logging
import mmap
import os
import socket
import struct
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.http.errors import (
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.workers.gthread import TConn, ThreadWorker

from config import gunicorn as settings
from dag_engine.api.durations import N_PLACES
from dag_engine.api.services import services_of
from dag_engine.config import ServerConfig

log = logging.getLogger(__name__)

LEAST_THREADS = 64
_STALLED_S = 30
_TIMEVAL = struct.Struct("ll")
_COURTESY_S = 0.001
_NOBODY = 2**62
"""What stands in the place of a worker that there is not."""


class ApiWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A threaded worker that shares connections fairly with the others, gives up on peers that
    stall, and answers malformed requests with problems.

    `held` is memory of all workers: how many connections each holds, by its `place`.
    """

    held: memoryview
    place: int

    def notify(self) -> None:
        """Tell the others how much is held here, besides giving a sign of life."""
        self.held[self.place % N_PLACES] = self.nr_conns
        super().notify()

    def accept(self, listener: socket.socket) -> None:
        """Leave a new connection to a worker that holds fewer, if it takes it within a moment.

        All workers wake up for it. The quickest would be the same one again and again, and clients
        that keep their connections would all be served by one process, on one core.
        """
        if self.nr_conns > min(self.held):
            time.sleep(_COURTESY_S)
        super().accept(listener)

    def enqueue_req(self, conn: TConn) -> None:
        """Let the kernel end a read or a write that does not move, so that its thread is freed."""
        limit = _TIMEVAL.pack(_STALLED_S, 0)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            try:
                conn.sock.setsockopt(socket.SOL_SOCKET, option, limit)
            except OSError as error:
                log.debug("connection_ended detail=%s", error)
        super().enqueue_req(conn)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop in good order: answers that last end within a second."""
        services_of(self.wsgi).is_stopping = True
        super().handle_exit(sig, frame)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer what never reached the application."""
        status, code = _status_of(exc)
        if status >= 500:
            log.error("request_failed peer=%s", addr, exc_info=exc)
            detail = "The request failed by a fault of the service; its log tells more."
        else:
            log.info("request_malformed peer=%s detail=%s", addr, exc)
            detail = f"This is not an HTTP request that is let in: {exc}."
        try:
            client.sendall(_problem_bytes(status, code, detail))
        except OSError as error:
            log.debug("answer_lost peer=%s detail=%s", addr, error)


def _status_of(error: Exception) -> tuple[int, str]:
    if isinstance(error, LimitRequestLine):
        return 414, "uri_too_long"
    if isinstance(error, LimitRequestHeaders):
        return 431, "headers_too_large"
    is_ours = isinstance(error, InvalidResponseHeader | InvalidResponseHeaderName)
    if isinstance(error, ParseException) and not is_ours:
        return 400, "bad_request"
    return 500, "internal"


def _problem_bytes(status: int, code: str, detail: str) -> bytes:
    title = HTTPStatus(status).phrase
    body = msgspec.json.encode(
        {
            "type": f"urn:dagengine:problem:{code}",
            "title": title,
            "status": status,
            "code": code,
            "detail": detail,
            "errors": [],
        }
    )
    head = (
        f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


class ApiServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn with our settings.

    Parameters
    ----------
    make_app : callable
        Makes the application, in the master before the fork.
    server : ServerConfig
        Address, workers, threads.
    bind : str
        `fd://N` for a listening socket that the starter has bound; empty for the address of the
        configuration.
    prepare_worker : callable
        Called in each new worker with its place among the workers (from 0).
    prepare_log : callable
        Called with gunicorn's own logger, which passes nothing on to the root, whenever its
        handlers have been made.
    """

    def __init__(
        self,
        make_app: Callable[[], Flask],
        server: ServerConfig,
        bind: str,
        *,
        prepare_worker: Callable[[int], None],
        prepare_log: Callable[[logging.Logger], None],
    ) -> None:
        self._make_app = make_app
        self._server = server
        self._bind = bind
        self._prepare_worker = prepare_worker
        self._prepare_log = prepare_log
        # Mapped before the fork, so that the workers share it.
        self._held = memoryview(mmap.mmap(-1, 8 * N_PLACES)).cast("q")
        for place in range(N_PLACES):
            self._held[place] = _NOBODY
        super().__init__()

    def load_config(self) -> None:
        """Take the settings of `config.gunicorn`, then what the configuration says."""
        for name, value in vars(settings).items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)
        host = self._server.host
        host = f"[{host}]" if ":" in host else host
        self.cfg.set("bind", self._bind or f"{host}:{self._server.port}")
        self.cfg.set("workers", max(1, self._server.workers))
        self.cfg.set("threads", max(LEAST_THREADS, self._server.threads))
        self.cfg.set("pre_fork", self._give_place)
        self.cfg.set("post_fork", lambda _, worker: self._prepare_worker(worker.place))
        # both before the workers are forked, which have the handlers from the master
        for hook in ("on_starting", "on_reload"):
            self.cfg.set(hook, lambda arbiter: self._prepare_log(arbiter.log.error_log))

    def load(self) -> Flask:
        """Make the application."""
        return self._make_app()

    def _give_place(self, arbiter: Any, worker: Any) -> None:
        """Give a new worker the lowest place that no living one has."""
        taken = {other.place for other in arbiter.WORKERS.values()}
        worker.place = next(place for place in range(len(taken) + 1) if place not in taken)
        worker.held = self._held


def listen_url(server: ServerConfig, bind: str) -> str:
    """Return the URL under which this machine reaches the service."""
    if not bind.startswith("fd://"):
        host, port = server.host, server.port
    else:
        with socket.socket(fileno=os.dup(int(bind.removeprefix("fd://")))) as sock:
            host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
