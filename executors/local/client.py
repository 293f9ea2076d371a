"""The local executor as an engine's process sees it: a thin client of the pool supervisor."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from executors.base import BaseExecutor, ExecutorSettings, LogChunk, Outcome, Task
from executors.errors import ExecutorError, ExecutorUnavailableError, UnknownAttemptError
from executors.local.launch import supervisor_command
from executors.local.messages import Answer, Command
from executors.local.options import PoolPaths, log_path, read_options
from executors.log_reading import read_chunk
from executors.transport.errors import PeerClosedError
from executors.transport.frames import FrameSocket, connect

_CONNECT_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 10.0
_RETRY_EVERY_S = 0.1
_COMMAND_BYTES = 1 << 20
"""Tasks go together in one command until it is so long."""

_encode = msgspec.json.Encoder().encode
_decode_answer = msgspec.json.Decoder(Answer).decode


class _ToldOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor tells a subscriber, decoded in full."""

    outcomes: list[Outcome]
    is_more: bool = False


_decode_told = msgspec.json.Decoder(_ToldOutcomes).decode


class LocalExecutor(BaseExecutor):
    """Runs tasks in warm worker processes on this machine.

    The pool is another process, see `executors.local.launch.supervisor_command`; this object may
    come and go without a worker noticing. `poll` is called from one thread, everything else from
    any.

    Parameters
    ----------
    name : str
        Name of the executor; the pool of the same name and home is spoken to.
    options : dict
        See `executors.local.options.LocalOptions`.
    settings : ExecutorSettings
        Those of the operator engine.
    """

    writes_logs_to_folder = True
    side_process_drains = True
    most_at_once = 100

    def __init__(self, name: str, options: dict[str, Any], settings: ExecutorSettings) -> None:
        self._name = name
        self._options = read_options(name, options)
        self._settings = settings
        self._path = PoolPaths(settings.home, name).socket
        self._lock = threading.Lock()
        self._commands: FrameSocket | None = None
        self._unsent: list[bytes] = []
        self._news: FrameSocket | None = None
        self._is_closed = False
        self._has_told_all = False

    @classmethod
    def side_process(
        cls, name: str, options: dict[str, Any], settings: ExecutorSettings
    ) -> list[str]:
        """Return the command that runs the pool's supervisor beside the operator engine."""
        return supervisor_command(name, options, settings)

    # --- commands ---------------------------------------------------------------------------------

    def submit(self, task: Task) -> str:
        """Hand the attempt to the pool; returns when the pool has written it down."""
        [told] = self._submit_together([(task.attempt_id, _encode(task))])
        if isinstance(told, Exception):
            raise told
        return told

    def submit_some(self, tasks: Sequence[Task]) -> list[str | Exception]:
        """Hand several attempts to the pool; returns when it has written them down."""
        if type(self).submit is not LocalExecutor.submit:
            return super().submit_some(tasks)  # a derived class wants to see each
        told: list[str | Exception] = []
        for group in _gather(tasks):
            told += self._submit_together(group)
            if isinstance(told[-1], ExecutorUnavailableError):
                break
        return told

    def _submit_together(self, tasks: list[tuple[str, bytes]]) -> list[str | Exception]:
        """Submit ids and JSON with one command; that the pool is away is told of the first."""
        command = Command(op="submit", tasks=[msgspec.Raw(data) for _, data in tasks])
        try:
            refused = self._ask(command).refused
        except ExecutorUnavailableError as error:
            return [error]
        return [
            ExecutorError(refused[place]) if place in refused else attempt_id
            for place, (attempt_id, _) in enumerate(tasks)
        ]

    def cancel(self, handle: str) -> None:
        """Ask to kill the attempt; where the supervisor is away it hears of it when it is back."""
        self._say(Command(op="cancel", ids=[handle]))

    def release(self, handles: list[str]) -> None:
        """Let the pool forget these ends."""
        if handles:
            self._say(Command(op="release", ids=handles))

    def status(self) -> dict[str, Any]:
        """Tell what the pool is doing: workers, queue, template."""
        return self._ask(Command(op="status")).status

    def _ask(self, command: Command) -> Answer:
        """Send a command and wait for its answer; a connection that broke since is made anew."""
        payload = _encode(command)
        with self._lock:
            was_open = self._commands is not None
            try:
                answer = self._exchange(payload)
            except PeerClosedError as error:
                self._drop_commands()
                if not was_open:
                    raise ExecutorUnavailableError(self._name, str(error)) from error
                try:
                    answer = self._exchange(payload)
                except PeerClosedError as second:
                    self._drop_commands()
                    raise ExecutorUnavailableError(self._name, str(second)) from second
        if answer.error:
            raise ExecutorError(answer.error)
        return answer

    def _exchange(self, payload: bytes) -> Answer:
        connection = self._open_commands()
        connection.send(payload)
        reply = connection.receive(_ANSWER_TIMEOUT_S)
        if reply is None:
            raise PeerClosedError(f"no answer within {_ANSWER_TIMEOUT_S:g} s")
        return _decode_answer(reply)

    def _say(self, command: Command) -> None:
        """Send a command that has no answer; keep it while the supervisor is away."""
        with self._lock:
            self._unsent.append(_encode(command))
            with contextlib.suppress(PeerClosedError):
                self._open_commands()
                self._send_unsent()

    def _open_commands(self) -> FrameSocket:
        if self._is_closed:
            raise PeerClosedError("this executor object was closed")
        if self._commands is None:
            self._commands = connect(self._path, _CONNECT_TIMEOUT_S)
            self._send_unsent()
        return self._commands

    def _send_unsent(self) -> None:
        # Cancels and releases may be said twice: what may not have arrived is said again.
        while self._unsent and self._commands is not None:
            try:
                self._commands.send(self._unsent[0])
            except PeerClosedError:
                self._drop_commands()
                raise
            del self._unsent[0]

    def _drop_commands(self) -> None:
        if self._commands is not None:
            self._commands.close()
            self._commands = None

    # --- outcomes ---------------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> list[Outcome]:
        """Tell what the pool tells; after the supervisor was away, the stage of all it holds."""
        deadline = time.monotonic() + timeout_s
        had_told_all = self._has_told_all
        while True:
            remaining_s = max(0.0, deadline - time.monotonic())
            try:
                outcomes = self._receive(remaining_s)
            except PeerClosedError:
                self._drop_news()
                outcomes = []
                time.sleep(min(_RETRY_EVERY_S, remaining_s))
            is_first_answer = self._has_told_all and not had_told_all
            if outcomes or is_first_answer or self._is_closed:
                return outcomes
            if time.monotonic() >= deadline:
                if self._has_told_all:
                    return []
                raise ExecutorUnavailableError(self._name, "its supervisor does not answer yet")

    def _receive(self, timeout_s: float) -> list[Outcome]:
        if self._is_closed:
            raise PeerClosedError("this executor object was closed")
        if self._news is None:
            self._news = connect(self._path, _CONNECT_TIMEOUT_S)
            self._news.send(_encode(Command(op="subscribe")))
            self._say_unsent()
        payload = self._news.receive(timeout_s)
        outcomes: list[Outcome] = []
        while payload is not None:
            is_more = False
            for piece in (payload, *self._news.receive_ready()):
                told = _decode_told(piece)
                outcomes += told.outcomes
                is_more = told.is_more
            payload = self._news.receive(_ANSWER_TIMEOUT_S) if is_more else None
            self._has_told_all = True
        return outcomes

    def _say_unsent(self) -> None:
        with self._lock:
            if self._unsent:
                self._open_commands()
                self._send_unsent()

    def _drop_news(self) -> None:
        if self._news is not None:
            self._news.close()
            self._news = None

    # --- logs -------------------------------------------------------------------------------------

    def read_log(self, handle: str, offset: int, limit: int) -> LogChunk:
        """Read the log's file.

        Raises `UnknownAttemptError` where neither the pool nor the folder of logs knows the
        attempt.
        """
        if "/" in handle or "\0" in handle:
            raise UnknownAttemptError(handle)
        stage = self._stage_of(handle)  # asked first: what is read afterwards is all there is
        is_over = stage not in ("accepted", "started")
        path = log_path(self._settings.logs, handle)
        end = None if is_over else self._options.log_limit_bytes
        try:
            return read_chunk(path, offset, limit, end=end, is_over=is_over)
        except FileNotFoundError:
            if not stage:
                raise UnknownAttemptError(handle) from None
            return LogChunk(is_complete=is_over)

    def _stage_of(self, handle: str) -> str:
        """Stage at the pool; empty also where no supervisor runs, for then no worker does."""
        try:
            return self._ask(Command(op="stage", ids=[handle])).stage
        except ExecutorUnavailableError:
            return ""

    def close(self) -> None:
        """Close the connections; the pool goes on."""
        self._is_closed = True
        with self._lock:
            self._drop_commands()
        self._drop_news()


def _gather(tasks: Sequence[Task]) -> Iterator[list[tuple[str, bytes]]]:
    """Encode tasks, and share them out in groups that are short enough for one command."""
    group: list[tuple[str, bytes]] = []
    n_bytes = 0
    for task in tasks:
        data = _encode(task)
        if group and n_bytes + len(data) > _COMMAND_BYTES:
            yield group
            group, n_bytes = [], 0
        group.append((task.attempt_id, data))
        n_bytes += len(data)
    if group:
        yield group


def is_pool_reachable(home: str, name: str) -> bool:
    """Whether a supervisor answers at this home."""
    path = PoolPaths(home, name).socket
    if not os.path.exists(path):
        return False
    try:
        connect(path, _CONNECT_TIMEOUT_S).close()
    except PeerClosedError:
        return False
    return True
