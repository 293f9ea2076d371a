"""What every process of the operator engine does at its start and end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import types
from pathlib import Path

from operator_engine.errors import EngineError
from operator_engine.settings import EngineSettings, read_engine_settings

log = logging.getLogger(__name__)


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
        return read_engine_settings(Path(arguments[1]))
    except EngineError as error:
        sys.exit(str(error))


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


def wait_for_stop() -> None:
    """Wait, in the main thread, until the launcher or the user asks this process to end."""
    stop = threading.Event()

    def on_signal(number: int, frame: types.FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    stop.wait()
