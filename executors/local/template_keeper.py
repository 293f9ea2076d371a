"""The supervisor's side of the template process: starts it, asks it for workers, outlives it."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from executors.local.messages import TemplateWord
from executors.local.template import template_main
from executors.transport.frames import FrameDecoder

if TYPE_CHECKING:
    from executors.local.loop import Loop
    from executors.local.options import PoolSettings

log = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 60.0


class TemplateKeeper:
    """Keeps one template process.

    Its death costs nothing but time: workers are then forked light until another is ready.

    Parameters
    ----------
    loop, settings : Loop, PoolSettings
        Event loop and settings.
    fork : callable
        Forks this process.
    on_change : callable
        Called when the template has become ready, or is gone.
    """

    def __init__(
        self,
        loop: Loop,
        settings: PoolSettings,
        fork: Callable[[], int],
        on_change: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._fork = fork
        self._on_change = on_change
        self._socket: socket.socket | None = None
        self._decoder = FrameDecoder()
        self._pidfd = -1
        self._n_deaths = 0
        self._is_closing = False
        self._supervisor_pid = os.getpid()
        self.pid = 0
        self.is_ready = False
        self.is_awaited = bool(settings.options.preload)
        self.failed: dict[str, str] = {}

    def start(self) -> None:
        """Fork the template; it says when it is ready."""
        if self._is_closing:
            return
        try:
            ours, theirs, self.pid = self._fork_with_socket()
        except OSError as error:
            log.warning("template_not_forked error=%s", error)
            self.is_awaited = False
            self._loop.call_after(_LONGEST_PAUSE_S, self.start)
            return
        if self.pid == 0:
            template_main(theirs, self._settings, self._supervisor_pid)
        theirs.close()
        ours.setblocking(False)
        self._socket = ours
        self._decoder = FrameDecoder()
        self._pidfd = os.pidfd_open(self.pid)
        self.is_awaited = self._n_deaths == 0
        self._loop.watch(ours.fileno(), self._on_readable, 1)
        self._loop.watch(self._pidfd, lambda _: self.wait(), 1)

    def _fork_with_socket(self) -> tuple[socket.socket, socket.socket, int]:
        ours, theirs = socket.socketpair()
        try:
            return ours, theirs, self._fork()
        except OSError:
            ours.close()
            theirs.close()
            raise

    def ask(self, channel: socket.socket) -> bool:
        """Ask for a worker that speaks over `channel`; False when the template does not listen."""
        try:
            if self._socket is not None:
                socket.send_fds(self._socket, [b"w"], [channel.fileno()])
                return True
        except OSError as error:
            log.warning("template_not_listening pid=%d error=%s", self.pid, error)
        return False

    def _on_readable(self, mask: int) -> None:
        try:
            data = self._socket.recv(65536) if self._socket else b""
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close_socket()
            self._signal(signal.SIGKILL)
            return
        for payload in self._decoder.feed(data):
            self._note_ready(msgspec.json.decode(payload, type=TemplateWord))

    def _note_ready(self, word: TemplateWord) -> None:
        self.failed = word.failed
        for module, error in word.failed.items():
            log.warning("preload_failed module=%s error=%s", module, error)
        log.info("template_ready seconds=%g n_threads=%d", word.seconds, word.n_threads)
        self.is_ready = True
        self.is_awaited = False
        self._on_change()

    def wait(self) -> None:
        """Wait for a template that has ended; start another after a pause that grows."""
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG) if self.pid else None
        if result is None:
            return
        self._close_socket()
        self._loop.forget(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._n_deaths = 1 if self.is_ready else self._n_deaths + 1
        pause_s = min(_LONGEST_PAUSE_S, 2.0 ** (self._n_deaths - 1))
        log.warning(
            "template_died pid=%d status=%d restart_in_s=%g", self.pid, result.si_status, pause_s
        )
        self.pid = 0
        self.is_ready = self.is_awaited = False
        self._loop.call_after(pause_s, self.start)
        self._on_change()

    def close(self) -> None:
        """Start no other template, and let this one end."""
        self._is_closing = True
        self._close_socket()

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self.is_ready = False

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            signal.pidfd_send_signal(self._pidfd, number)
