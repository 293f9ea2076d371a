"""What every process of the operator engine does at its start and end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path

from executors.masking import mask_logging
from operator_engine.errors import EngineError
from operator_engine.settings import EngineSettings, read_engine_settings

log = logging.getLogger(__name__)

_WAKE_BYTES = 4096


def begin(arguments: list[str]) -> EngineSettings:
    """Start logging to stderr and read the settings file named on the command line.

    Ends the process with a sentence where it cannot be read. From then on the failure of any
    thread ends the process: its successor learns anew what there is, and a process that lives
    without one of its threads would only look alive.
    """
    start_logging()
    threading.excepthook = _end_process
    if len(arguments) != 2:
        sys.exit(f"usage: python -m {Path(arguments[0]).stem} SETTINGS.json")
    try:
        settings = read_engine_settings(Path(arguments[1]))
    except EngineError as error:
        sys.exit(str(error))
    mask_logging([settings.token])
    return settings


def _end_process(failure: threading.ExceptHookArgs) -> None:
    name = failure.thread.name if failure.thread else "unknown"
    cause = failure.exc_value or failure.exc_type()
    log.critical("thread_failed name=%s", name, exc_info=cause)
    logging.shutdown()
    os._exit(70)  # EX_SOFTWARE of sysexits.h


def start_logging() -> None:
    """Log to stderr; the launcher gathers it."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(process)d %(name)s %(message)s",
        stream=sys.stderr,
    )


def wait_for_stop(on_drain: Callable[[Callable[[], None]], None] | None = None) -> None:
    """Wait, in the main thread, until the launcher or the user asks this process to end.

    On SIGUSR1, `on_drain` is called in a thread of its own with a function to call when all is
    done: then the wait is over too.

    The kernel may give a signal to any thread, as it does where a second one follows at once. Its
    handler runs in this one all the same, but only when this one wakes up: every signal writes a
    byte into a socket, and this thread reads it.
    """
    stop = threading.Event()
    ours, theirs = socket.socketpair()

    def finish() -> None:
        stop.set()
        with contextlib.suppress(BlockingIOError):  # full of bytes that wake it up as well
            theirs.send(b"\0")

    def on_user_signal(number: int, frame: types.FrameType | None) -> None:
        if on_drain is not None:
            threading.Thread(target=on_drain, args=(finish,), name="drain", daemon=True).start()

    def on_signal(number: int, frame: types.FrameType | None) -> None:
        stop.set()

    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGUSR1, on_user_signal)
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    while not stop.is_set():
        ours.recv(_WAKE_BYTES)
    signal.set_wakeup_fd(-1)
