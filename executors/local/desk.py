"""Where clients speak to the supervisor: a Unix socket, commands in, answers and news out."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import msgspec

from executors.local.channel import Channel, Outbox
from executors.local.loop import Loop
from executors.local.messages import Answer, Command, Told
from executors.transport.frames import listen

log = logging.getLogger(__name__)

_COMMAND_LIMIT_BYTES = 64 * 1024 * 1024
_N_TOLD_AT_ONCE = 1000
_ACCEPT_PAUSE_S = 1.0
_encode = msgspec.json.Encoder().encode
_decode_command = msgspec.json.Decoder(Command).decode


class Desk:
    """Serves clients.

    Parameters
    ----------
    loop, outbox : Loop, Outbox
        Event loop and what is flushed after each of its rounds.
    path : str
        The socket.
    on_command : callable
        Carries a command out; returns the answer, or None where none is due.
    stages : callable
        Gives the present stage of everything, for a new subscriber.
    """

    def __init__(
        self,
        loop: Loop,
        outbox: Outbox,
        path: str,
        on_command: Callable[[Command], Answer | None],
        stages: Callable[[], list[msgspec.Raw]],
    ) -> None:
        self._loop = loop
        self._outbox = outbox
        self._on_command = on_command
        self._stages = stages
        self._clients: set[Channel] = set()
        self._subscribers: set[Channel] = set()
        self._listener = listen(path)
        self._listener.setblocking(False)
        self._watch_listener()

    def _watch_listener(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.watch(self._listener.fileno(), self._on_connection, 1)

    def tell(self, outcomes: list[msgspec.Raw]) -> None:
        """Tell every subscriber."""
        for subscriber in self._subscribers:
            _send_told(subscriber, outcomes)

    def _on_connection(self, mask: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:  # the client has gone already, or no descriptor is left
            log.warning("connection_not_accepted error=%s", error)
            self._loop.forget(self._listener.fileno())  # it stays ready: not again at once
            self._loop.call_after(_ACCEPT_PAUSE_S, self._watch_listener)
            return
        client: Channel
        client = Channel(
            self._loop,
            self._outbox,
            sock,
            lambda payload: self._on_payload(client, payload),
            lambda: self._drop(client),
            _COMMAND_LIMIT_BYTES,
        )
        self._clients.add(client)

    def _on_payload(self, client: Channel, payload: bytes) -> None:
        try:
            command = _decode_command(payload)
        except msgspec.DecodeError as error:
            log.warning("command_refused error=%s", error)
            client.send(_encode(Answer(error=f"Not a command: {error}")))
            return
        if command.op == "subscribe":
            self._subscribers.add(client)
            _send_told(client, self._stages())
            return
        answer = self._on_command(command)
        if answer is not None:
            client.send(_encode(answer))

    def _drop(self, client: Channel) -> None:
        self._clients.discard(client)
        self._subscribers.discard(client)

    def close(self) -> None:
        """Take no more commands."""
        with contextlib.suppress(KeyError):  # not watched during a pause
            self._loop.forget(self._listener.fileno())
        self._listener.close()
        for client in self._clients:
            client.close()
        self._clients.clear()
        self._subscribers.clear()


def _send_told(client: Channel, outcomes: list[msgspec.Raw]) -> None:
    """Send in pieces, so that no frame grows too long; an empty list is told too."""
    for start in range(0, max(1, len(outcomes)), _N_TOLD_AT_ONCE):
        end = start + _N_TOLD_AT_ONCE
        client.send(_encode(Told(outcomes=outcomes[start:end], is_more=end < len(outcomes))))
